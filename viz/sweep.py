"""The answers of a sweep over its factors: a dot per point, means by level or range, and sensitivity indices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from viz.style import INK, MUTED, OKABE_ITO, drawable, house_style, new_figure, write_png

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

BLUE, ORANGE = OKABE_ITO[:2]
MOST_FACTORS, MOST_FIGURES = 8, 5
MOST_LEVELS = 12


def draw_sweep(folder: Path | str) -> list[Path]:
    """Draw `responses.png`, and `indices.png` where the design has indices.

    Parameters
    ----------
    folder : path of a sweep

    Returns
    -------
    list of Path
        The pictures.
    """
    import pandas as pd

    from runs.sweeping.place import Place

    path = Path(folder)
    sweep = Place(path).sweep()
    runs = pd.read_parquet(path / "runs.parquet")
    runs = runs[runs.status.isin(["done", "degraded"])]
    labels = [c.removeprefix("p.") for c in runs.columns if c.startswith("p.")][:MOST_FACTORS]
    answers = sweep.answers.figures[:MOST_FIGURES]
    written = [path / "responses.png"]
    with house_style():
        figure = new_figure(3.1 * len(labels) + 0.6, 2.5 * len(answers) + 0.6, air_in=0.08)
        figure.suptitle(drawable(f"{sweep.name}: {len(runs):,} runs"), x=0.01, ha="left", fontweight="bold")
        axes = figure.subplots(len(answers), len(labels), squeeze=False, sharey="row")
        for i, answer in enumerate(answers):
            for j, label in enumerate(labels):
                _response(axes[i, j], runs, label, answer)
                axes[i, j].set_xlabel(drawable(label) if i == len(answers) - 1 else "")
            axes[i, 0].set_ylabel(answer)
        write_png(figure, written[0], dpi=100)
        if (path / "indices.parquet").is_file():
            written.append(path / "indices.png")
            _indices(pd.read_parquet(path / "indices.parquet"), answers, sweep.name, written[-1])
    return written


def _response(ax: Axes, runs: pd.DataFrame, label: str, answer: str) -> None:
    column = f"p.{label}"
    means = runs.groupby("point", sort=False).agg({column: "first", answer: "mean"})
    level, value = means[column], means[answer].to_numpy(float)
    if level.nunique() <= MOST_LEVELS:
        names = list(dict.fromkeys(level))
        at = np.array([names.index(v) for v in level], float)
        ax.plot(at, value, "o", ms=3, color=MUTED, alpha=0.6)
        ax.plot(range(len(names)), [value[at == i].mean() for i in range(len(names))], "o-", color=BLUE)
        ax.set_xticks(range(len(names)), [drawable(str(n))[:14] for n in names])
        ax.margins(x=0.15)
        return
    number = level.to_numpy(float)
    ax.plot(number, value, "o", ms=3, color=MUTED, alpha=0.6)
    order = np.argsort(number)
    bins = np.array_split(order, min(10, max(2, len(order) // 8)))
    ax.plot([number[b].mean() for b in bins], [value[b].mean() for b in bins], "o-", color=BLUE)


def _indices(indices: pd.DataFrame, answers: list[str], name: str, path: Path) -> None:
    shown = [k for k in ("s1", "st", "mu_star") if (indices["index"] == k).any()]
    factors = list(dict.fromkeys(indices.factor))
    figure = new_figure(3.6 * len(answers) + 0.6, 0.5 * len(factors) + 1.6, air_in=0.08)
    figure.suptitle(drawable(f"{name}: sensitivity indices, 95 % intervals"), x=0.01, ha="left", fontweight="bold")
    axes: Any = figure.subplots(1, len(answers), squeeze=False, sharey=True)
    words = {"s1": "first order", "st": "total", "mu_star": "mean elementary effect"}
    for ax, answer in zip(axes[0], answers, strict=True):
        for k, (kind, colour) in enumerate(zip(shown, (BLUE, ORANGE, INK), strict=False)):
            rows = indices[(indices.figure == answer) & (indices["index"] == kind)].set_index("factor").reindex(factors)
            value = rows.value.to_numpy(float)
            reach = np.array([value - rows.low.to_numpy(float), rows.high.to_numpy(float) - value])
            at = np.arange(len(factors)) + (k - (len(shown) - 1) / 2) * 0.35
            ax.barh(at, value, 0.33, color=colour, label=words[kind], xerr=np.abs(reach), ecolor=INK)
        ax.set_title(answer)
        ax.set_yticks(range(len(factors)), [drawable(f) for f in factors])
    axes[0, 0].invert_yaxis()
    axes[0, -1].legend()
    write_png(figure, path, dpi=100)
