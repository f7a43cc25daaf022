"""The fleet of a case as a picture: what is sold, shares of new cars, published counts, new models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from viz.style import INK, MUTED, OKABE_ITO, drawable, house_style, new_figure, write_png

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from runs.fleet import FleetReport

BLUE, ORANGE, GREEN, RED = OKABE_ITO[:4]
_KIND_COLOUR = {"bev": BLUE, "e-power": ORANGE}
_FROM = 2016


def draw_fleet(report: FleetReport, path: Path | str) -> Path:
    """Draw a fleet report as PNG.

    Parameters
    ----------
    report : runs.fleet.FleetReport
    path : path of the picture

    Returns
    -------
    Path
        The picture.
    """
    path = Path(path)
    with house_style():
        figure = new_figure(12.8, 9.2, air_in=0.12)
        where = "all markets" if len(report.markets) > 1 else report.markets[0]
        figure.suptitle(drawable(f"{report.title}: {where}"), x=0.01, ha="left", fontweight="bold")
        axes = figure.subplots(2, 2)
        sales = report.sales[report.sales.fiscal_year >= _FROM]
        goals = {row.what: row for row in report.goals.itertuples()}
        _sold(axes[0, 0], sales, goals)
        _shares(axes[0, 1], sales)
        _counts(axes[1, 0], report)
        _calendar(axes[1, 1], report)
        write_png(figure, path, dpi=100)
    return path


def _sold(ax: Axes, sales: pd.DataFrame, goals: dict[str, Any]) -> None:
    years = sales.fiscal_year.to_numpy()
    bev, epower = sales.bev.to_numpy() / 1e3, sales.e_power.to_numpy() / 1e3
    ax.set_title("Electrified cars sold")
    ax.bar(years, bev, color=BLUE, width=0.7, label="battery electric")
    ax.bar(years, epower, bottom=bev, color=ORANGE, width=0.7, label="e-POWER")
    for year, total in zip(years, bev + epower, strict=True):
        ax.annotate(f"{total:,.0f}", (year, total), xytext=(0, 3), textcoords="offset points", ha="center", fontsize=9)
    top = float((bev + epower).max())
    if "electrified cars sold in the year" in goals:
        goal = goals["electrified cars sold in the year"].goal / 1e3
        ax.plot([2021.55, 2022.45], [goal, goal], color=INK, linewidth=2)
        ax.annotate("goal", (2021.5, goal), xytext=(-3, 0), textcoords="offset points", ha="right", va="center")
        top = max(top, goal)
    ax.set_ylim(0, 1.15 * top)
    ax.set_xticks(years)
    ax.set_xlabel("fiscal year (from April)")
    ax.set_ylabel("thousand cars a year")
    ax.legend(loc="upper left")


def _shares(ax: Axes, sales: pd.DataFrame) -> None:
    ax.set_title("Share of new cars")
    years = sales.fiscal_year.to_numpy()
    for column, label, colour, marker in (
        ("connected_share", "connected", GREEN, "o"),
        ("propilot_share", "ProPILOT", RED, "s"),
        ("electrified_share", "electrified", BLUE, "^"),
    ):
        values = 100 * sales[column].to_numpy()
        ax.plot(years, values, color=colour, marker=marker, label=label)
    ax.set_ylim(0, 105)
    ax.set_xticks(years)
    ax.set_xlabel("fiscal year (from April)")
    ax.set_ylabel("% of new cars")
    ax.grid(axis="y")
    ax.legend(loc="upper left")


def _counts(ax: Axes, report: FleetReport) -> None:
    found = report.milestones
    if not len(found) or report.case != "actual":  # a plan need not meet what was counted
        _on_road(ax, report)
        return
    ax.set_title("Published counts beside this case")
    labels = [
        f"{row.what.replace(' at 2023-06-30', '').replace(' at 2024-10-31', '')}, {row.when}"
        for row in found.itertuples()
    ]
    off = 100 * (found.found / found.stated - 1).to_numpy()
    rows = np.arange(len(found))
    far = max(15.0, float(np.ceil(np.abs(np.clip(off, -200, 200)).max() / 5) * 5))
    official = (found.confidence == "official").to_numpy()
    ax.axvspan(-3, 3, color="#eeeeee", zorder=0)
    ax.axvline(0, color=MUTED, linewidth=0.8)
    ax.scatter(off[official], rows[official], color=BLUE, marker="o", label="official", zorder=3)
    ax.scatter(off[~official], rows[~official], color=RED, marker="D", label="recalled", zorder=3)
    ax.set_yticks(rows, [drawable(text) for text in labels], fontsize=7.5)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlim(-far * 1.05, far * 1.05)
    ax.set_xlabel("this case over the published count, % (band: 3 %)")
    ax.legend(loc="upper right")


def _on_road(ax: Axes, report: FleetReport) -> None:
    ax.set_title(f"On the road at the end of {report.year}")
    electrified = report.cohorts[report.cohorts.kind != "combustion"]
    by_model = electrified.groupby(["name", "kind"]).on_road.sum().sort_values(ascending=False).head(14) / 1e3
    if not len(by_model):
        ax.text(0.5, 0.5, "no electrified car was sold here", ha="center", transform=ax.transAxes, color=MUTED)
        return
    rows = np.arange(len(by_model))
    ax.barh(rows, by_model.to_numpy(), color=[_KIND_COLOUR[kind] for _, kind in by_model.index])
    ax.set_yticks(rows, [drawable(name) for name, _ in by_model.index], fontsize=8)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlabel("thousand cars")


def _calendar(ax: Axes, report: FleetReport) -> None:
    ax.set_title("New electrified models, month of the first sale")
    new = report.new_models[report.new_models.kind != "combustion"]
    at = np.array([int(m[:4]) + (int(m[5:]) - 1) / 12 for m in new.month], float)
    rows = np.arange(len(new))
    for kind, marker, label in (("bev", "o", "battery electric"), ("e-power", "s", "e-POWER")):
        mine = (new.kind == kind).to_numpy()
        ax.scatter(at[mine], rows[mine], color=_KIND_COLOUR[kind], marker=marker, label=label, zorder=3)
    for row, when, name in zip(rows, at, new.name, strict=True):
        left = when < 2017.5
        ax.annotate(
            drawable(name),
            (when, row),
            xytext=(7 if left else -7, 0),
            textcoords="offset points",
            ha="left" if left else "right",
            va="center",
            fontsize=7.5,
        )
    ax.set_xlim(2010, 2024)
    ax.set_ylim(max(len(rows), 1) - 0.4, -0.6)
    ax.set_yticks([])
    ax.set_xlabel("year")
    ax.grid(axis="x")
    if len(new):
        ax.legend(loc="lower left")
