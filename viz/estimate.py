"""A fleet's estimate on two pages: the answers and their path, and what they rest on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from viz.style import MUTED, OKABE_ITO, drawable, house_style, new_figure, write_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from runs.estimates import Estimate
    from runs.estimation.report import FleetEstimate

_SIZE_IN = (8.27, 11.69)  # A4
_CASE = {"actual": (OKABE_ITO[0], "o", "as it was"), "plan": (OKABE_ITO[3], "s", "as planned")}
_LEAST_SHOWN = 0.005
"""Share of the squared widths below which a source is not drawn."""
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
    markets = ", ".join(_market(m) for m in estimate.evidence.means)
    covered, every = _cars(estimate)
    note = (
        f"{markets}: {covered / 1e6:.1f} of {every / 1e6:.1f} million cars on the road; {estimate.runs} runs; "
        f"95 % intervals; page {number} of 2"
    )
    figure.text(0.04, 0.951, drawable(note), fontsize=8.5, color=MUTED, va="top")
    return figure


def _market(name: str) -> str:
    from runs.estimation.report import MARKET_WORDS

    return MARKET_WORDS.get(name, name)


def _cars(e: FleetEstimate) -> tuple[float, float]:
    """Cars of covered markets and of all."""
    covered = sum(e.now.cars[m]["all"] for m in e.evidence.means)
    return covered, covered + sum(cars for cars, _ in e.now.not_covered.values())


def _name(case: str) -> str:
    return _CASE[case][2] if case in _CASE else case


def _answers(e: FleetEstimate) -> Figure:
    figure = _page(e, 1)
    grid = figure.add_gridspec(
        4,
        3,
        height_ratios=(0.2, 1.0, 1.0, 1.1),
        left=0.09,
        right=0.96,
        top=0.905,
        bottom=0.02,
        hspace=0.46,
        wspace=0.38,
    )
    for k, (name, factor, unit, title) in enumerate(_ANSWERS):
        ax = figure.add_subplot(grid[0, k])
        ax.axis("off")
        v = e.now.figures["covered"][name]
        ax.set_title(title, fontsize=8.5)
        ax.text(0, 0.6, f"{_short(v.mean * factor)} {unit}", fontsize=13, fontweight="bold", va="center")
        ax.text(0, 0.0, f"{_short(v.low * factor)} to {_short(v.high * factor)}", color=MUTED, va="center")
    markets = list(e.evidence.means)
    row = grid[1, :].subgridspec(1, max(len(markets), 1), wspace=0.38)
    for k, market in enumerate(markets):
        _load(figure.add_subplot(row[k]), e, market)
    for k, (name, factor, unit, title) in enumerate(_ANSWERS):
        _path(figure.add_subplot(grid[2, k]), e, name, factor, unit, title)
    _figures(figure.add_subplot(grid[3, :]), e)
    return figure


def _load(ax: Axes, e: FleetEstimate, market: str) -> None:
    """A market's mean day, both cases, on its own clock."""
    hours = np.arange(25)
    highest = 0.0
    for case, answers in e.path.items():
        colour, _, label = _CASE.get(case, (OKABE_ITO[2], "^", case))
        load = 1000 * answers[-1].load_gw[market]
        ax.step(hours, np.append(load, load[-1]), where="post", color=colour, label=label)
        highest = max(highest, float(load.max()))
    ax.set_title(f"Charging, {_market(market)}", fontsize=8.5)
    ax.set_xlim(0, 24)
    ax.set_xticks(range(0, 25, 6), [f"{h:02d}:00" for h in range(0, 25, 6)])
    ax.set_xlabel("mean day, local time", fontsize=8)
    ax.set_ylim(0, max(1e-9, highest * 1.35))
    ax.set_ylabel("MW at the meter")
    ax.legend(loc="upper left", fontsize=8)


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
    from matplotlib.transforms import Bbox

    from runs.estimation.report import WORDS

    ax.axis("off")
    scopes = [*e.evidence.means, "covered"]
    rows = []
    for name, words in WORDS.items():
        unit = "%" if name == "autonomy_share" else e.now.figures["covered"][name].unit
        rows.append([f"{words}, {unit}", *(_cell(e.now.figures[s][name]) for s in scopes)])
    first = 0.3
    table = ax.table(
        rows,
        colLabels=["", *(_market(s) for s in scopes)],
        bbox=Bbox.from_bounds(-0.06, 0.0, 1.07, 1.0),
        cellLoc="right",
        colWidths=[first, *[(1 - first) / len(scopes)] * len(scopes)],
    )
    _plain(table)


def _plain(table: object) -> None:
    table.auto_set_font_size(False)  # type: ignore[attr-defined]
    table.set_fontsize(7.2)  # type: ignore[attr-defined]
    for (row, column), cell in table.get_celld().items():  # type: ignore[attr-defined]
        cell.set_edgecolor("#dddddd")
        cell.set_linewidth(0.5)
        cell.PAD = 0.04
        if row == 0:
            cell.set_text_props(fontweight="bold")
        if column == 0:
            cell.set_text_props(ha="left")


def _cell(v: Estimate) -> str:
    factor = 100.0 if v.unit == "share" else 1.0
    return f"{_short(v.mean * factor)}\n{_short(v.low * factor)} to {_short(v.high * factor)}"


def _grounds(e: FleetEstimate) -> Figure:
    figure = _page(e, 2)
    grid = figure.add_gridspec(
        3, 2, height_ratios=(1.0, 0.95, 1.3), left=0.2, right=0.96, top=0.905, bottom=0.03, hspace=0.38, wspace=0.62
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
        "\n".join(_wrapped(note, 128) for note in _notes(e)),
        va="top",
        fontsize=7.8,
        linespacing=1.4,
        transform=ax.transAxes,
    )
    return figure


def _moves(ax: Axes, e: FleetEstimate, name: str) -> None:
    from runs.estimation.report import WORDS

    parts = [(what, share) for what, share in e.now.moves[name] if share >= _LEAST_SHOWN][:7]
    rows = np.arange(len(parts))
    ax.barh(rows, [100 * share for _, share in parts], color=OKABE_ITO[0], height=0.7)
    ax.set_yticks(rows, [_wrapped(what, 24) for what, _ in parts], fontsize=7.5)
    ax.set_ylim(max(len(parts), 1) - 0.4, -0.6)
    ax.set_xlim(0, 100)
    ax.set_xlabel("% of the squared widths")
    for row, (_, share) in enumerate(parts):
        ax.annotate(
            f"{share:.0%}", (100 * share, row), xytext=(3, 0), textcoords="offset points", va="center", fontsize=8
        )
    ax.set_title(f"What makes it wide: {WORDS[name]}", fontsize=9.5, x=-0.6, ha="left")


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
    ax.barh(rows, [total[n][1] for n in names], color=OKABE_ITO[0], label="engaged (share)")
    for row, n, s in zip(rows, names, share, strict=True):
        ax.annotate(
            f"{s:.1f} %" if s else "0", (total[n][0], row), xytext=(3, 0), textcoords="offset points", va="center",
            fontsize=8,
        )  # fmt: skip
    ax.set_yticks(rows, [n.replace("_", " ") for n in names], fontsize=8)
    ax.set_ylim(max(len(names), 1) - 0.4, -0.6)
    ax.set_xlim(0, 1.2 * max((total[n][0] for n in names), default=1.0))
    ax.set_xlabel("million km a day")
    ax.set_title("Kilometres by road class", fontsize=9.5, x=-0.35, ha="left")
    ax.legend(loc="lower right", fontsize=8)


def _notes(e: FleetEstimate) -> list[str]:
    from runs.estimation.report import km_per_year, spread_lines

    notes = []
    for market, cities in e.evidence.cities.items():
        cars = e.now.cars[market]
        where = ", ".join(f"{city} {weight:.0%}" for city, weight in cities)
        notes.append(
            f"{_market(market)}: {cars['all'] / 1e6:.2f} million cars on the road, {cars['bev'] / 1e3:,.0f} thousand "
            f"battery electric, {cars['propilot'] / 1e3:,.0f} thousand with ProPILOT, {cars['connected'] / 1e6:.2f} "
            f"million connected; {km_per_year(e.now, market):,.0f} km a car and year. Cities: {where}."
        )
        used = ", ".join(f"{level} {share:.1%}" for level, share in e.now.levels[market].items() if share)
        notes.append(f"    kilometres engaged, of those of the cars that have it: {used or 'none'}.")
    for market, (cars_there, why) in e.now.not_covered.items():
        notes.append(f"Not covered: {_market(market)}, {cars_there / 1e6:.2f} million cars ({why}).")
    notes += [
        "Cars of the runs are weighed by type, ProPILOT level and connection to the cohorts of sales (twin fleet).",
        "Intervals: which cars and which cities were simulated, and each assumption moved down and up in paired runs.",
        "The less is known about an assumption, the further its bounds are taken to be crossed.",
        *(line[0].upper() + line[1:] + "." for line in spread_lines(e.evidence)),
        "Cities of a market differ here in streets, chargers and climate; its habits are the same in all of them.",
        f"One over-the-air update to every connected car here: {_short(e.ota_pb[e.case])} PB.",
    ]
    return notes


def _short(value: float) -> str:
    from runs.estimates import figure

    return figure(value)


__all__ = ["draw_estimate"]
