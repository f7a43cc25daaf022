"""What a run did by hour: heat maps of days and places, and how cars differ from each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from viz import series
from viz.charts import legend, say
from viz.folder import Floats, Folder
from viz.style import INK, MUTED, OKABE_ITO, drawable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROWS = 14
"""Most rows of a heat map."""

RAMP = "cividis_r"  # Nuñez, Anderton, Renslow (2018): the same order with every colour vision, and in grey


class Heat(NamedTuple):
    """Amounts by row and hour, shape (rows, hours)."""

    names: tuple[str, ...]
    values: Floats
    of: int
    """Places there are; those with most are rows."""


def feeders_by_hour(folder: Folder) -> Heat:
    """Mean charging power of the feeders with most energy by hour, kW."""
    found = folder.table("grid_load", ("time_s", "feeder_id", "power_kw"))
    edges = series.grid_load(folder).edges_s
    width_h = float(edges[1] - edges[0]) / 3600
    return _by_hour(
        folder,
        np.asarray(found["feeder_id"]),
        np.asarray(found["time_s"], float),
        np.asarray(found["power_kw"], float) * min(width_h, 1.0),
        "feeder",
    )


def cells_by_hour(folder: Folder) -> Heat:
    """Telemetry generated in the radio cells with most of it by hour, MB."""
    found = folder.table("cloud", ("time_s", "cell_id", "generated_bytes"))
    return _by_hour(
        folder,
        np.asarray(found["cell_id"]),
        np.asarray(found["time_s"], float),
        np.asarray(found["generated_bytes"], float) / 1e6,
        "cell",
    )


def _by_hour(folder: Folder, place: object, time_s: Floats, amount: Floats, what: str) -> Heat:
    hours = max(1, int(np.ceil(series.horizon_s(folder) / 3600)))
    ids, row = np.unique(np.asarray(place).astype(np.int64), return_inverse=True)
    hour = np.minimum((time_s // 3600).astype(np.int64), hours - 1)
    cell = row * hours + hour
    total = np.bincount(cell, np.nan_to_num(amount), len(ids) * hours).astype(float).reshape(len(ids), hours)
    order = np.argsort(-total.sum(axis=1), kind="stable")
    top = order[:ROWS]
    return Heat(tuple(f"{what} {ids[k]}" for k in top), total[top], len(ids))


def draw_feeders(ax: Axes, folder: Folder) -> None:
    """Charging power by feeder and hour."""
    _heat(
        ax,
        folder,
        feeders_by_hour(folder),
        "Grid load by feeder and hour",
        "mean power, kW",
        "no car charged in this run",
    )


def draw_cells(ax: Axes, folder: Folder) -> None:
    """Telemetry by radio cell and hour."""
    _heat(
        ax,
        folder,
        cells_by_hour(folder),
        "Telemetry by radio cell and hour",
        "generated, MB",
        "no connected car sent data in this run",
    )


def _heat(ax: Axes, folder: Folder, heat: Heat, title: str, label: str, empty: str) -> None:
    ax.set_title(title)
    if not heat.values.any():
        ax.set_xticks([])
        say(ax, empty)
        return
    rows, hours = heat.values.shape
    if heat.of > rows:
        ax.set_title(f"{title} ({rows} of {heat.of:,})")
    start = folder.start
    first = start.hour + start.minute / 60 if start else 0.0
    drawn = ax.pcolormesh(np.arange(hours + 1) + first, np.arange(rows + 1), heat.values, cmap=RAMP, rasterized=True)
    ax.set_ylim(rows, 0)
    ax.set_yticks(np.arange(rows) + 0.5, [drawable(n) for n in heat.names], fontsize=8)
    ax.tick_params(axis="y", length=0)
    step = next((s for s in (1, 3, 6, 12, 24, 48) if hours / s <= 9), 96)
    ticks = np.arange(np.ceil(first / step) * step, first + hours + 1e-9, step)
    ax.set_xticks(ticks, [f"{int(t) % 24:02d}" if hours <= 24 else f"{int(t)}" for t in ticks])
    zone = folder.manifest.get("timezone")
    ax.set_xlabel(f"hour, local time{', ' + drawable(str(zone)) if zone else ''}" if start else "hour of the run")
    bar = ax.figure.colorbar(drawn, ax=ax, aspect=24, pad=0.02)
    bar.set_label(label, fontsize=9)
    bar.outline.set_visible(False)


def draw_distances(ax: Axes, folder: Folder) -> None:
    """How far cars drove in the run."""
    km = np.asarray(folder.table("cars", ("km",))["km"], float)
    _histogram(ax, [("all cars", km)], "Distance per car", "km in this run", "cars", empty="no cars in this run")


def draw_charge(ax: Axes, folder: Folder) -> None:
    """State of charge of electric cars at the start and at the end."""
    if not {"soc_start", "soc_end"} <= set(folder.columns("cars")):
        _histogram(ax, [], "State of charge", "state of charge, %", "cars", empty="not in this run's table of cars")
        return
    found = folder.table("cars", ("soc_start", "soc_end", "powertrain"))
    kind = found["powertrain"]
    labels = getattr(kind, "labels", ())
    electric = np.isin(getattr(kind, "codes", np.empty(0)), [k for k, name in enumerate(labels) if name == "bev"])
    start, end = (100 * np.asarray(found[c], float)[electric] for c in ("soc_start", "soc_end"))
    _histogram(
        ax,
        [("start", start), ("end", end)],
        "Electric cars by state of charge",
        "state of charge, %",
        "cars",
        bins=np.arange(0, 101, 10.0),
        empty="no electric car in this run",
    )


def draw_sessions(ax: Axes, folder: Folder) -> None:
    """Energy of charging sessions at the meter."""
    column = "meter_kwh" if "meter_kwh" in folder.columns("sessions") else "energy_kwh"
    kwh = np.asarray(folder.table("sessions", (column,))[column], float) if folder.columns("sessions") else np.empty(0)
    _histogram(
        ax,
        [("sessions", kwh[kwh > 0])],
        "Energy per charging session",
        "kWh at the meter",
        "sessions",
        empty="no car charged in this run",
    )


def draw_lateness(ax: Axes, folder: Folder) -> None:
    """Travel time of trips over the time at free flow."""
    columns = {"enter_s", "arrive_s", "free_s", "charging_stops"}
    if not columns <= set(folder.columns("trips")):
        _histogram(
            ax, [], "Travel time over free flow", "times free flow", "trips", empty="not in this run's table of trips"
        )
        return
    found = folder.table("trips", tuple(sorted(columns)))
    took = np.asarray(found["arrive_s"], float) - np.asarray(found["enter_s"], float)
    free = np.asarray(found["free_s"], float)
    known = np.isfinite(took) & (free > 0) & (np.asarray(found["charging_stops"]) == 0)
    ratio = took[known] / free[known]
    top = max(float(np.quantile(ratio, 0.99)), 1.2) if len(ratio) else 2.0
    _histogram(
        ax,
        [("trips without charging stops", np.clip(ratio, 0, top))],
        "Travel time over free flow",
        "times free flow (last bar: and more)",
        "trips",
        bins=np.linspace(min(1.0, float(ratio.min()) if len(ratio) else 1.0), top, 21),
        empty="no trip arrived in this run",
    )


def _histogram(
    ax: Axes,
    parts: list[tuple[str, Floats]],
    title: str,
    xlabel: str,
    ylabel: str,
    *,
    empty: str,
    bins: Floats | None = None,
) -> None:
    ax.set_title(title)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    known = [(name, values[np.isfinite(values)]) for name, values in parts]
    if not any(len(values) for _, values in known):
        ax.set_xticks([])
        say(ax, empty)
        return
    everything = np.concatenate([values for _, values in known])
    edges = np.histogram_bin_edges(everything, 20) if bins is None else bins
    for k, (name, values) in enumerate(known):
        counts = np.histogram(values, edges)[0]
        if k == 0:
            ax.stairs(counts, edges, fill=True, color=OKABE_ITO[0], alpha=0.85, label=f"{name} ({len(values):,})")
        else:
            ax.stairs(
                counts, edges, color=OKABE_ITO[3], linewidth=1.8, baseline=None, label=f"{name} ({len(values):,})"
            )
        if k == 0 and len(values):
            ax.axvline(
                float(np.median(values)),
                color=INK,
                linewidth=1,
                linestyle=(0, (4, 3)),
                label=f"median {np.median(values):.3g}",
            )
    ax.grid(visible=True, axis="y", color="#e6e6e6")
    ax.tick_params(axis="x", colors=MUTED)
    legend(ax)
