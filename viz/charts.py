"""The charts of a run: each draws one answer on axes that it is given.

Every axis carries its unit; colours are Okabe and Ito's and series also differ in order,
so a chart reads in grey. A run without the thing shown says so in the chart.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from viz import series
from viz.folder import Floats, Folder
from viz.style import DRIVEN, ENGAGED, INK, MUTED, OKABE_ITO, SITE_COLOURS, byte_scale, drawable, figures, power_scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Chart = Callable[["Axes", Folder], None]

TICK_STEPS_H = (0.25, 0.5, 1, 2, 3, 6, 12, 24, 48, 72, 168, 336, 672)
MOST_TICKS = 9
MOST_SERVICES = 6
LEGEND_COLUMNS = 5
SEAMS_UP_TO = 200  # intervals; on more, white seams would hide narrow peaks


def draw_grid_load(ax: Axes, folder: Folder) -> None:
    """Charging power at the meter over the day, stacked by kind of site, with its peak marked."""
    load = series.grid_load(folder)
    total = load.total
    divisor, unit = power_scale(float(total.max(initial=0)))
    ax.set_title("Grid load of charging")
    ax.set_ylabel(f"power at the meter, {unit}")
    _time_axis(ax, folder, load.edges_s)
    if not total.any():
        say(ax, "no car charged in this run")
        return
    used = [k for k in range(len(load.names)) if load.values[k].any()]
    colours = [SITE_COLOURS.get(load.names[k], OKABE_ITO[4 + k % 4]) for k in used]
    _stacked(ax, load.edges_s, load.values[used] / divisor, [load.names[k] for k in used], colours)
    top = int(np.argmax(total))
    at_s, peak = (load.edges_s[top] + load.edges_s[top + 1]) / 2, total[top] / divisor
    ax.plot([at_s / 3600], [peak], marker="v", color=INK, markeredgecolor="white", markersize=8, clip_on=False)
    right = at_s > 0.6 * load.edges_s[-1]
    ax.annotate(
        f"peak {figures(peak)} {unit}, {clock(folder.start, float(load.edges_s[top]))}",
        (at_s / 3600, peak),
        xytext=(-9 if right else 9, 1),
        textcoords="offset points",
        ha="right" if right else "left",
        va="bottom",
        fontsize=9,
    )
    ax.set_ylim(0, peak * 1.14)
    legend(ax)


def draw_engagement_by_road(ax: Axes, folder: Folder) -> None:
    """Kilometres by road class, driven and with ProPILOT engaged, and the share of it."""
    found = series.engagement_by_road(folder)
    ax.set_title("ProPILOT by road class")
    ax.set_xlabel("fleet distance, km")
    if not len(found.keys):
        say(ax, "no car drove in this run")
        ax.set_yticks([])
        return
    rows = np.arange(len(found.keys))
    ax.barh(rows, found.km, height=0.72, color=DRIVEN, edgecolor=MUTED, linewidth=0.5, label="driven")
    ax.barh(rows, found.engaged_km, height=0.72, color=ENGAGED, label="ProPILOT engaged")
    ax.set_yticks(rows, found.keys)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlim(0, float(found.km.max()) * 1.2)
    for row, km, share in zip(rows, found.km, found.share, strict=True):
        ax.annotate(f"{_percent(share)}", (km, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    ax.locator_params(axis="x", nbins=4)
    ax.grid(visible=True, axis="x")
    legend(ax)


def draw_engagement_by_hour(ax: Axes, folder: Folder) -> None:
    """Share of each hour's fleet kilometres with ProPILOT engaged; hours without driving stay blank."""
    found = series.engagement_by_hour(folder)
    ax.set_title("ProPILOT by hour")
    ax.set_ylabel("engaged km, %")
    edges_s = np.arange(len(found.keys) + 1, dtype=np.float64) * 3600
    _time_axis(ax, folder, edges_s, most=5)
    if not found.km.any():
        say(ax, "no car drove in this run")
        return
    share = 100 * found.share
    ax.stairs(np.nan_to_num(share), edges_s / 3600, fill=True, color=ENGAGED)
    mean = 100 * found.engaged_km.sum() / found.km.sum()
    ax.axhline(mean, color=INK, linewidth=1, linestyle=(0, (4, 3)), label=f"whole run {figures(float(mean))} %")
    ax.set_ylim(0, max(float(np.nanmax(share)) * 1.12, 2.0))
    ax.grid(visible=True, axis="y")
    legend(ax)


def draw_cloud(ax: Axes, folder: Folder) -> None:
    """Telemetry reaching the cloud, stacked by service, and what the cars generated meanwhile."""
    day = series.cloud_day(folder)
    step_s = float(day.delivered.edges_s[1] - day.delivered.edges_s[0])
    rates, made = day.delivered.values / step_s, day.generated / step_s
    names = list(day.delivered.names)
    if len(names) > MOST_SERVICES:  # colours beyond these are not told apart
        rates = np.vstack([rates[: MOST_SERVICES - 1], rates[MOST_SERVICES - 1 :].sum(axis=0)])
        names = [*names[: MOST_SERVICES - 1], f"{len(names) - MOST_SERVICES + 1} others"]
    top = max(float(rates.sum(axis=0).max(initial=0)), float(made.max(initial=0)))
    divisor, unit = byte_scale(top)
    ax.set_title("Telemetry to the cloud")
    ax.set_ylabel(f"mean rate, {unit}/s")
    _time_axis(ax, folder, day.delivered.edges_s)
    if top == 0:
        say(ax, "no connected car sent data in this run")
        return
    _stacked(ax, day.delivered.edges_s, rates / divisor, names, [OKABE_ITO[k] for k in (0, 4, 1, 2, 5, 3)])
    few = len(made) <= SEAMS_UP_TO
    dash, width = ((0, (3, 2)), 1.2) if few else ("solid", 0.7)
    ax.stairs(
        made / divisor,
        day.delivered.edges_s / 3600,
        baseline=None,
        color=INK,
        linewidth=width,
        linestyle=dash,
        label="generated",
    )
    ax.set_ylim(0, top / divisor * 1.08)
    legend(ax)


def draw_backlog(ax: Axes, folder: Folder) -> None:
    """Bytes that wait in the cars at each interval's end, and bytes lost so far."""
    day = series.cloud_day(folder)
    lost = np.cumsum(day.dropped)
    top = max(float(day.buffered.max(initial=0)), float(lost.max(initial=0)))
    divisor, unit = byte_scale(top)
    ax.set_title("Telemetry that waits or is lost")
    ax.set_ylabel(f"telemetry, {unit}")
    _time_axis(ax, folder, day.delivered.edges_s)
    if not day.generated.any():
        say(ax, "no connected car sent data in this run")
        return
    hours = day.delivered.edges_s / 3600
    ax.stairs(day.buffered / divisor, hours, fill=True, color=OKABE_ITO[4], label="waiting in cars")
    ax.stairs(lost / divisor, hours, baseline=None, color=OKABE_ITO[3], linewidth=1.6, label="dropped so far")
    ax.set_ylim(0, top / divisor * 1.08 if top else 1)
    ax.grid(visible=True, axis="y")
    legend(ax)


def clock(start: datetime | None, time_s: float) -> str:
    """A moment of the run as people say it: civil time, or hours since the start.

    Examples
    --------
    >>> clock(datetime(2022, 10, 12), 70_200.0), clock(None, 5400.0), clock(datetime(2022, 10, 12), 180_000.0)
    ('19:30', '1:30 h', '14 Oct 02:00')
    """
    if start is None:
        minutes = round(time_s / 60)
        return f"{minutes // 60}:{minutes % 60:02d} h"
    moment = start + timedelta(seconds=time_s)
    return f"{moment:%H:%M}" if moment.date() == start.date() else f"{moment.day} {moment:%b %H:%M}"


def _time_axis(ax: Axes, folder: Folder, edges_s: Floats, *, most: int = MOST_TICKS) -> None:
    """Hours on x with round civil times as labels."""
    start, end_h = folder.start, float(edges_s[-1]) / 3600
    step = next((s for s in TICK_STEPS_H if end_h / s <= most - 1), TICK_STEPS_H[-1])
    offset = 0.0 if start is None else start.hour + start.minute / 60 + start.second / 3600
    first = -offset % min(step, 24)
    ticks = np.arange(first, end_h + 1e-6, step)
    ax.set_xlim(0, end_h)
    ax.set_xticks(ticks, [_tick(start, t, step, end_h) for t in ticks])
    zone = folder.manifest.get("timezone")
    where = f", {drawable(str(zone))}" if zone else ""
    ax.set_xlabel("hours since the start" if start is None else f"local time{where}")


def _tick(start: datetime | None, hours: float, step: float, end_h: float) -> str:
    if start is None:
        return f"{hours:g}"
    moment = start + timedelta(hours=hours)
    if step >= 24:
        return f"{moment.day} {moment:%b}"
    at_end = end_h <= 24 and hours == end_h and moment.hour == 0 and moment.minute == 0
    if end_h > 24 and moment.hour == 0 and moment.minute == 0:
        return f"{moment.day} {moment:%b}"
    return "24:00" if at_end else f"{moment:%H:%M}"


def _stacked(ax: Axes, edges_s: Floats, values: Floats, names: list[str], colours: list[str]) -> None:
    """Steps on top of each other, since means over intervals are flat; thin white seams where there is room."""
    base = np.zeros(values.shape[1])
    for row, name, colour in zip(values, names, colours, strict=False):
        top = base + row
        ax.stairs(top, edges_s / 3600, baseline=base, fill=True, color=colour, label=drawable(name), linewidth=0)
        if len(row) <= SEAMS_UP_TO:
            ax.stairs(top, edges_s / 3600, baseline=None, color="white", linewidth=0.5)
        base = top
    ax.grid(visible=True, axis="y")


def legend(ax: Axes) -> None:
    """Rows between title and plot, so that they cover no data."""
    handles, labels = ax.get_legend_handles_labels()
    rows = -(-len(handles) // LEGEND_COLUMNS)
    columns = -(-len(handles) // rows)
    ax.set_title(ax.get_title("left"), pad=11 + 13 * rows)
    ax.legend(
        handles,
        labels,
        loc="lower left",
        bbox_to_anchor=(0, 1.015),
        ncols=columns,
        handlelength=1.1,
        handletextpad=0.4,
        columnspacing=0.9,
        labelspacing=0.25,
        fontsize=8.5,
    )


def say(ax: Axes, text: str) -> None:
    """Words in place of a chart that has nothing to show."""
    ax.set_ylim(0, 1)
    ax.set_yticks([])
    ax.annotate(text, (0.5, 0.5), xycoords="axes fraction", ha="center", va="center", color=MUTED, fontsize=11)


def _percent(share: float) -> str:
    """Two digits are enough beside a bar; what is exactly zero says so."""
    return "0 %" if share == 0 else f"{100 * share:.1f} %"
