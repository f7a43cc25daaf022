"""The answers of a sweep over its factors: a dot per point, means by level or range, and sensitivity indices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from viz.style import INK, MUTED, OKABE_ITO, byte_scale, drawable, house_style, new_figure, write_png

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
            name, unit, step = words_of(answer, float(runs[answer].abs().max()))
            for j, label in enumerate(labels):
                _response(axes[i, j], runs, label, answer, step)
                axes[i, j].set_xlabel(drawable(label) if i == len(answers) - 1 else "")
            axes[i, 0].set_ylabel(_titled(name, unit))
        write_png(figure, written[0], dpi=100)
        if (path / "indices.parquet").is_file():
            written.append(path / "indices.png")
            _indices(pd.read_parquet(path / "indices.parquet"), answers, sweep.name, written[-1])
    return written


def words_of(figure: str, largest: float) -> tuple[str, str, float]:
    """A figure of the summary in words, the unit to show it in, and by how much to divide it.

    Examples
    --------
    >>> words_of("grid.peak_kw", 40.0), words_of("autonomy.share", 0.03), words_of("cloud.generated_bytes", 2.4e7)
    (('grid peak', 'kW', 1.0), ('autonomy share', '%', 0.01), ('cloud generated', 'MB', 1000000.0))
    >>> words_of("fleet.trips", 12)
    ('fleet trips', '', 1.0)
    """
    name = figure.replace(".", " ").replace("_", " ")
    if name.endswith(" bytes"):
        step, unit = byte_scale(largest)
        return name.removesuffix(" bytes"), unit, step
    if name.endswith(" share"):
        return name, "%", 0.01
    for ending, unit in ((" kwh", "kWh"), (" kw", "kW"), (" km", "km"), (" s", "s")):
        if name.endswith(ending):
            return name.removesuffix(ending), unit, 1.0
    return name, "", 1.0


def _titled(name: str, unit: str) -> str:
    return f"{name}, {unit}" if unit else name


def _response(ax: Axes, runs: pd.DataFrame, label: str, answer: str, step: float) -> None:
    column = f"p.{label}"
    means = runs.groupby("point", sort=False).agg({column: "first", answer: "mean"})
    level, value = means[column], means[answer].to_numpy(float) / step
    if level.dtype.kind not in "iuf":  # words: in the order of the sweep, side by side
        names = list(dict.fromkeys(level))[:MOST_LEVELS]
        at = np.array([names.index(v) if v in names else np.nan for v in level], float)
        ax.plot(at, value, "o", ms=3, color=MUTED, alpha=0.6)
        ax.plot(range(len(names)), [value[at == i].mean() for i in range(len(names))], "o-", color=BLUE)
        ax.set_xticks(range(len(names)), [drawable(str(n))[:14] for n in names])
        ax.margins(x=0.15)
        return
    number = level.to_numpy(float)
    ax.plot(number, value, "o", ms=3, color=MUTED, alpha=0.6)
    ax.locator_params(axis="x", nbins=5)
    order = np.argsort(number, kind="stable")
    levels = np.unique(number)
    few = len(levels) <= MOST_LEVELS
    bins = (
        [np.flatnonzero(number == v) for v in levels]
        if few
        else np.array_split(order, min(10, max(2, len(order) // 8)))
    )
    ax.plot([number[b].mean() for b in bins], [value[b].mean() for b in bins], "o-", color=BLUE)


def _indices(indices: pd.DataFrame, answers: list[str], name: str, path: Path) -> None:
    shown = [k for k in ("s1", "st", "mu_star") if (indices["index"] == k).any()]
    factors = list(dict.fromkeys(indices.factor))
    words = {"s1": "first order", "st": "total", "mu_star": "mean elementary effect"}
    effects = shown == ["mu_star"]  # in the figure's unit; the other indices are shares of its variance
    figure = new_figure(3.6 * len(answers) + 0.6, 0.5 * len(factors) + 1.6, air_in=0.08)
    figure.suptitle(
        drawable(f"{name}: {words['mu_star'] if effects else 'sensitivity indices'}, 95 % intervals"),
        x=0.01,
        ha="left",
        fontweight="bold",
    )
    axes: Any = figure.subplots(1, len(answers), squeeze=False, sharey=True)
    for ax, answer in zip(axes[0], answers, strict=True):
        most = float(indices.high[indices.figure == answer].abs().max())
        said, unit, step = words_of(answer, most) if effects else (words_of(answer, most)[0], "", 1.0)
        for k, (kind, colour) in enumerate(zip(shown, (BLUE, ORANGE, INK), strict=False)):
            rows = indices[(indices.figure == answer) & (indices["index"] == kind)].set_index("factor").reindex(factors)
            low, value, high = (rows[end].to_numpy(float) / step for end in ("low", "value", "high"))
            reach = np.array([value - low, high - value])
            at = np.arange(len(factors)) + (k - (len(shown) - 1) / 2) * 0.35
            ax.barh(at, value, 0.33, color=colour, label=words[kind], xerr=np.abs(reach), ecolor=INK)
        ax.set_title(drawable(said))
        ax.set_xlabel(
            _titled("change over its range", "points" if unit == "%" else unit) if effects else "share of variance"
        )
        ax.locator_params(axis="x", nbins=4)
        ax.set_yticks(range(len(factors)), [drawable(f) for f in factors])
    axes[0, 0].invert_yaxis()
    if len(shown) > 1:
        axes[0, -1].legend()
    write_png(figure, path, dpi=100)
