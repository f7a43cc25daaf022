"""A fleet's estimate on two pages: the answers and their path, and what they rest on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from viz.style import MUTED, OKABE_ITO, drawable, house_style, new_figure, write_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from runs.estimation.report import FleetEstimate

_SIZE_IN = (8.27, 11.69)  # A4
_MARKET_COLOUR = {"japan": OKABE_ITO[0], "europe": OKABE_ITO[1], "us": OKABE_ITO[2]}
_CASE = {"actual": (OKABE_ITO[0], "o", "as it was"), "plan": (OKABE_ITO[3], "s", "as planned")}
_ANSWERS = (
    ("grid_gwh_per_day", 1.0, "GWh a day", "Charging of battery electric cars"),
    ("autonomy_share", 100.0, "% of all km", "Kilometres with ProPILOT engaged"),
    ("cloud_pb_per_month", 1.0, "PB a month", "Uplink of connected cars"),
)


def draw_estimate(estimate: FleetEstimate, folder: Path | str) -> list[Path]:
    """Draw the two pages as `estimate.pdf` and as one PNG each.

    Parameters
    ----------
    estimate : runs.estimation.report.FleetEstimate
    folder : path of a folder

    Returns
    -------
    list of Path
        The PDF first.
    """
    from matplotlib.backends.backend_pdf import PdfPages

    folder = Path(folder)
    pdf = folder / "estimate.pdf"
    part = folder / "estimate.pdf.part"
    drawn = []
    with house_style():
        pages = [_answers(estimate), _grounds(estimate)]
        with PdfPages(part, metadata={"CreationDate": None, "Producer": None, "Creator": None}) as book:
            for number, page in enumerate(pages, 1):
                book.savefig(page)
                path = folder / f"estimate-{number}.png"
                write_png(page, path, dpi=110)
                drawn.append(path)
        part.replace(pdf)
    return [pdf, *drawn]


def _page(estimate: FleetEstimate, number: int) -> Figure:
    figure = new_figure(*_SIZE_IN, air_in=0.12)
    figure.set_layout_engine("none")  # a table and long titles have no place in an automatic layout
    title = f"The {estimate.year} fleet, {_name(estimate.case)}"
    figure.text(0.04, 0.975, drawable(title), fontsize=15, fontweight="bold", va="top")
    markets = ", ".join(estimate.evidence.means)
    note = f"markets covered: {markets}; {estimate.runs} runs; intervals 95 %; page {number} of 2"
    figure.text(0.04, 0.951, drawable(note), fontsize=8.5, color=MUTED, va="top")
    return figure


def _name(case: str) -> str:
    return _CASE[case][2] if case in _CASE else case


def _answers(e: FleetEstimate) -> Figure:
    figure = _page(e, 1)
    grid = figure.add_gridspec(
        4,
        3,
        height_ratios=(0.45, 1.2, 1.0, 1.35),
        left=0.09,
        right=0.97,
        top=0.905,
        bottom=0.03,
        hspace=0.42,
        wspace=0.38,
    )
    for k, (name, factor, unit, title) in enumerate(_ANSWERS):
        ax = figure.add_subplot(grid[0, k])
        ax.axis("off")
        v = e.now.figures["covered"][name]
        ax.set_title(title, fontsize=8.5)
        ax.text(0, 0.62, f"{_short(v.mean * factor)} {unit}", fontsize=13, fontweight="bold", va="center")
        ax.text(0, 0.2, f"{_short(v.low * factor)} to {_short(v.high * factor)}", color=MUTED, va="center")
    _load(figure.add_subplot(grid[1, :]), e)
    for k, (name, factor, unit, title) in enumerate(_ANSWERS):
        _path(figure.add_subplot(grid[2, k]), e, name, factor, unit, title)
    _figures(figure.add_subplot(grid[3, :]), e)
    return figure


def _load(ax: Axes, e: FleetEstimate) -> None:
    hours = np.arange(25)
    below = np.zeros(24)
    for market in e.evidence.means:
        top = below + e.now.load_gw[market]
        ax.fill_between(
            hours,
            np.append(below, below[-1]),
            np.append(top, top[-1]),
            step="post",
            color=_MARKET_COLOUR.get(market, MUTED),
            label=market,
            linewidth=0,
        )
        below = top
    ax.set_title("Charging load on the mean day, by each market's own clock")
    ax.set_xlim(0, 24)
    ax.set_xticks(range(0, 25, 3), [f"{h:02d}:00" for h in range(0, 25, 3)])
    ax.set_ylim(0, max(1e-9, below.max() * 1.25))
    ax.set_ylabel("GW at the meter")
    ax.legend(ncols=4, loc="upper left")


def _path(ax: Axes, e: FleetEstimate, name: str, factor: float, unit: str, title: str) -> None:
    for case, answers in e.path.items():
        colour, marker, label = _CASE.get(case, (OKABE_ITO[2], "^", case))
        years = np.array([a.year for a in answers])
        values = [a.figures["covered"][name] for a in answers]
        mean = np.array([v.mean for v in values]) * factor
        low, high = (np.array([getattr(v, end) for v in values]) * factor for end in ("low", "high"))
        shift = 0.08 if case == e.case else -0.08
        ax.errorbar(
            years + shift,
            mean,
            np.stack([mean - low, high - mean]),
            color=colour,
            marker=marker,
            capsize=2,
            label=label,
        )
    ax.set_title(title, fontsize=8.5)
    ax.set_ylabel(unit)
    ax.set_ylim(bottom=0)
    ax.set_xticks([a.year for a in e.path[e.case]])
    ax.tick_params(axis="x", labelrotation=45)
    ax.legend(loc="upper left", fontsize=8)


def _figures(ax: Axes, e: FleetEstimate) -> None:
    from runs.estimation.report import WORDS

    ax.axis("off")
    scopes = [*e.evidence.means, "covered"]
    rows = [[WORDS[name], *(_cell(e.now.figures[s][name]) for s in scopes)] for name in WORDS]
    table = ax.table(
        rows, colLabels=["", *scopes], loc="upper center", cellLoc="right", colWidths=[0.26, *[0.2] * len(scopes)]
    )
    _plain(table)


def _plain(table: object) -> None:
    table.auto_set_font_size(False)  # type: ignore[attr-defined]
    table.set_fontsize(7.5)  # type: ignore[attr-defined]
    table.scale(1, 1.35)  # type: ignore[attr-defined]
    for (row, column), cell in table.get_celld().items():  # type: ignore[attr-defined]
        cell.set_edgecolor("#dddddd")
        cell.set_linewidth(0.5)
        if row == 0:
            cell.set_text_props(fontweight="bold")
        if column == 0:
            cell.set_text_props(ha="left")


def _cell(v: object) -> str:
    text = str(v).rpartition(", n ")[0]
    mean, _, span = text.partition(" (95 %: ")
    return f"{mean}\n{span}"


def _grounds(e: FleetEstimate) -> Figure:
    figure = _page(e, 2)
    grid = figure.add_gridspec(
        3, 2, height_ratios=(1.2, 1.1, 0.9), left=0.2, right=0.96, top=0.905, bottom=0.03, hspace=0.38, wspace=0.62
    )
    for k, name in enumerate(("grid_gwh_per_day", "cloud_pb_per_month")):
        _moves(figure.add_subplot(grid[0, k]), e, name)
    _moves(figure.add_subplot(grid[1, 0]), e, "autonomy_share")
    _classes(figure.add_subplot(grid[1, 1]), e)
    ax = figure.add_subplot(grid[2, :])
    ax.axis("off")
    ax.set_title("What it rests on", x=-0.16)
    ax.text(
        -0.16,
        0.98,
        "\n".join(_wrapped(note, 112) for note in _notes(e)),
        va="top",
        fontsize=8.5,
        linespacing=1.45,
        transform=ax.transAxes,
    )
    return figure


def _moves(ax: Axes, e: FleetEstimate, name: str) -> None:
    from runs.estimation.report import WORDS

    parts = e.now.moves[name][:8]
    rows = np.arange(len(parts))
    ax.barh(rows, [100 * share for _, share in parts], color=OKABE_ITO[0], height=0.7)
    ax.set_yticks(rows, [_wrapped(what, 24) for what, _ in parts], fontsize=7.5)
    ax.set_ylim(max(len(parts), 1) - 0.4, -0.6)
    ax.set_xlim(0, 100)
    ax.set_xlabel("% of the variance")
    ax.set_title(f"What moves: {WORDS[name]}", fontsize=9.5)


def _wrapped(text: str, width: int) -> str:
    import textwrap

    return "\n".join(drawable(line) for line in textwrap.wrap(text, width))


def _classes(ax: Axes, e: FleetEstimate) -> None:
    total: dict[str, list[float]] = {}
    for found in e.now.classes.values():
        for name, (driven, engaged) in found.items():
            into = total.setdefault(name, [0.0, 0.0])
            into[0] += driven
            into[1] += engaged
    names = sorted(total, key=lambda n: -total[n][0])[:9]
    rows = np.arange(len(names))
    share = [100 * total[n][1] / total[n][0] if total[n][0] else 0.0 for n in names]
    ax.barh(rows, [total[n][0] for n in names], color="#d9d9d9", edgecolor=MUTED, linewidth=0.5, label="driven")
    ax.barh(rows, [total[n][1] for n in names], color=OKABE_ITO[0], label="ProPILOT engaged")
    for row, n, s in zip(rows, names, share, strict=True):
        ax.annotate(
            f"{s:.1f} %", (total[n][0], row), xytext=(3, 0), textcoords="offset points", va="center", fontsize=8
        )
    ax.set_yticks(rows, names, fontsize=8)
    ax.set_ylim(max(len(names), 1) - 0.4, -0.6)
    ax.set_xlim(0, 1.2 * max((total[n][0] for n in names), default=1.0))
    ax.set_xlabel("million km a day")
    ax.set_title("Kilometres by road class", fontsize=9.5)
    ax.legend(loc="lower right", fontsize=8)


def _notes(e: FleetEstimate) -> list[str]:
    notes = []
    for market, cities in e.evidence.cities.items():
        cars = e.now.cars[market]
        where = ", ".join(f"{city} ({weight:.0%})" for city, weight in cities)
        notes.append(
            f"{market}: {cars['all'] / 1e6:.2f} million cars on the road, {cars['bev'] / 1e3:,.0f} thousand battery "
            f"electric, {cars['propilot'] / 1e3:,.0f} thousand with ProPILOT; cities {where}"
        )
    for market, (cars_there, why) in e.now.not_covered.items():
        notes.append(f"not covered: {market}, {cars_there / 1e6:.2f} million cars ({why})")
    notes += [
        "Cars of the runs are weighed by type, ProPILOT level and connection to the cohorts of sales (twin fleet).",
        "Intervals: draw of the cars, spread between cities, and each assumption moved down and up in paired runs;",
        "the less is known about an assumption, the further its bounds are taken to be crossed.",
        f"One over-the-air update to every connected car here: {_short(e.ota_pb[e.case])} PB.",
    ]
    return notes


def _short(value: float) -> str:
    from runs.estimates import figure

    return figure(value)


__all__ = ["draw_estimate"]
