"""Pictures for grid planners: ADMD and hosting capacity of a run, and power flow on a network."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from viz.folder import Folder, Names
from viz.style import INK, MUTED, OKABE_ITO, drawable, figures, house_style, new_figure, write_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from runs.powerflow.study import Study

CARS, HOMES = OKABE_ITO[0], OKABE_ITO[1]


def draw_admd(ax: Axes, folder: Folder) -> None:
    """Highest interval mean of home charging per car, by the number of cars, with the range of groups."""
    found = folder.table("grid_admd", ("n", "admd_kw", "low_kw", "high_kw"))
    n, mean, low, high = (np.asarray(found[c], float) for c in ("n", "admd_kw", "low_kw", "high_kw"))
    ax.set_title("Diversity of home charging")
    ax.set_xlabel("cars in a group")
    ax.set_ylabel("ADMD, kW per car")
    if not len(n):
        ax.text(0.5, 0.5, "no car has a socket at home", transform=ax.transAxes, ha="center", color=MUTED)
        return
    ax.set_xscale("log")
    ax.fill_between(n, low, high, color=CARS, alpha=0.2, linewidth=0, label="95 % of groups")
    ax.plot(n, mean, color=CARS, marker="o", markersize=4, label="mean")
    said = f"{figures(float(mean[-1]))} kW"
    ax.annotate(said, (n[-1], mean[-1]), xytext=(0, 8), textcoords="offset points", ha="right")
    ax.set_ylim(0, float(high.max()) * 1.1 or 1.0)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    ax.grid(visible=True, axis="y")
    ax.legend(loc="upper right", frameon=False)


FEEDER_SERIES = ("time_s", "households_kw", "charging_kw", "low_kw", "high_kw")


class LoadedFeeder(NamedTuple):
    """The most loaded feeder with cars at home; `series` has the columns FEEDER_SERIES."""

    name: str
    rated_kw: float
    series: tuple[NDArray[np.float64], ...]


def loaded_feeder(folder: Folder) -> LoadedFeeder | None:
    """Of the feeders with cars at home that of highest loading; None where there is none."""
    peaks = folder.table("grid_peaks", ("level", "id", "name", "rated_kw", "loading"))
    load = folder.table("grid_feeders", ("feeder_id", *FEEDER_SERIES))
    feeders, level, label = np.asarray(load["feeder_id"], np.int64), peaks["level"], peaks["name"]
    if not len(feeders) or not isinstance(level, Names) or not isinstance(label, Names):
        return None
    number, loading = np.asarray(peaks["id"], np.int64), np.nan_to_num(np.asarray(peaks["loading"], float))
    rows = np.flatnonzero((level.codes == level.labels.index("feeder")) & np.isin(number, feeders))
    top = int(rows[np.argmax(loading[rows])])
    mine = feeders == number[top]
    return LoadedFeeder(
        label.labels[label.codes[top]], float(np.asarray(peaks["rated_kw"], float)[top]),
        tuple(np.asarray(load[c], float)[mine] for c in FEEDER_SERIES),
    )  # fmt: skip


def draw_feeder(ax: Axes, folder: Folder) -> None:
    """Load of the most loaded feeder with cars at home: households, charging and its range, rating."""
    found = loaded_feeder(folder)
    ax.set_title("The most loaded feeder")
    ax.set_xlabel("hours since the start")
    ax.set_ylabel("mean power, kW")
    if found is None:
        ax.text(0.5, 0.5, "no feeder with cars at home", transform=ax.transAxes, ha="center", color=MUTED)
        return
    time_s, base, kw, low, high = found.series
    # the last value holds to the end of its interval
    hours = np.append(time_s, time_s[-1] + (time_s[1] - time_s[0] if len(time_s) > 1 else 900.0)) / 3600
    base, kw, low, high = (np.append(of, of[-1]) for of in (base, kw, low, high))
    ax.fill_between(hours, 0, base, color=HOMES, linewidth=0, step="post", label="households")
    ax.fill_between(hours, base, base + kw, color=CARS, linewidth=0, step="post", label="charging")
    ax.fill_between(
        hours, base + low, base + high, color=INK, alpha=0.18, linewidth=0, step="post",
        label="95 % range",
    )  # fmt: skip
    highest = float((base + np.maximum(kw, high)).max())
    if not np.isnan(found.rated_kw):
        ax.axhline(found.rated_kw, color=INK, linewidth=1, linestyle=(0, (4, 3)))
        said = f"rating {figures(found.rated_kw)} kW"
        ax.annotate(said, (hours[0], found.rated_kw), xytext=(4, 3), textcoords="offset points", fontsize=9)
        highest = max(highest, found.rated_kw)
    ax.set_title(drawable(f"The most loaded: {found.name}"))
    ax.set_xlim(hours[0], hours[-1])
    ax.set_ylim(min(0.0, float((base + np.minimum(kw, low)).min())), highest * 1.25 or 1.0)
    ax.grid(visible=True, axis="y")
    ax.legend(loc="upper left", ncols=3, frameon=False)


def draw_hosting(ax: Axes, folder: Folder) -> None:
    """Share of feeders above their rating as cars are added."""
    found = folder.table("grid_hosting", ("cars_per_household", "over_share", "low", "high"))
    cars, mean, low, high = (np.asarray(found[c], float) for c in ("cars_per_household", "over_share", "low", "high"))
    ax.set_title("Hosting capacity of feeders")
    ax.set_xlabel("electric cars per household")
    ax.set_ylabel("feeders above rating, %")
    if not len(cars):
        ax.text(0.5, 0.5, "no feeder with homes and cars", transform=ax.transAxes, ha="center", color=MUTED)
        return
    ax.fill_between(cars, 100 * low, 100 * high, color=HOMES, alpha=0.25, linewidth=0, label="95 % of repeats")
    ax.plot(cars, 100 * mean, color=HOMES, label="mean")
    share = folder.value("grid", "hosting", "over_share")
    at, reached = (folder.value("grid", "hosting", key) for key in ("cars_per_household", "reached"))
    if isinstance(share, float):
        ax.axhline(100 * share, color=INK, linewidth=1, linestyle=(0, (4, 3)))
        said = f"{100 * share:g} % at {figures(at)}" if reached else f"{100 * share:g} % not reached"
        ax.annotate(said, (0.02, 100 * share), xytext=(2, 4), textcoords="offset points", fontsize=9)
    ax.set_xlim(0, float(cars[-1]))
    ax.set_ylim(0, max(100 * float(high.max()) * 1.1, 10.0))
    ax.grid(visible=True, axis="y")
    ax.legend(loc="upper left", bbox_to_anchor=(0, 0.9), frameon=False)


def draw_powerflow(study: Study, start: datetime, path: Path) -> Path:
    """Lowest voltage, highest loading and power of a network over the time, with and without charging."""
    with house_style():
        figure = new_figure(8.27, 8.0)
        axes = figure.subplots(3, 1, sharex=True)
        hours = study.placed.time_s / 3600 + start.hour + start.minute / 60
        band = study.summary["band"]
        series = ((study.base, HOMES, "households"), (study.flow, CARS, "households and cars"))
        for found, colour, label in series:
            percent = np.hstack([found.line_percent, found.trafo_percent])
            low, high = np.full(len(hours), np.nan), np.full(len(hours), np.nan)
            low[found.converged] = np.nanmin(found.vm_pu[found.converged], axis=1)
            high[found.converged] = np.nanmax(percent[found.converged], axis=1)
            axes[0].plot(hours, low, color=colour, label=label)
            axes[1].plot(hours, high, color=colour, label=label)
        axes[0].axhline(1 - band, color=INK, linewidth=1, linestyle=(0, (4, 3)))
        axes[0].set_ylabel("lowest voltage, per unit")
        axes[1].axhline(100, color=INK, linewidth=1, linestyle=(0, (4, 3)))
        axes[1].set_ylabel("highest loading, %")
        base, cars = study.placed.base_kw.sum(axis=1), study.placed.charging_kw.sum(axis=1)
        axes[2].stackplot(hours, base, cars, labels=("households", "cars"), colors=(HOMES, CARS))
        axes[2].set_ylabel("load, kW")
        axes[2].set_xlabel("hour")
        for step in np.flatnonzero(~study.flow.converged):
            for ax in axes:
                ax.axvspan(hours[step], hours[step] + 0.25, color=MUTED, alpha=0.3, linewidth=0)
        for ax in axes:
            ax.grid(visible=True, axis="y")
            ax.legend(loc="upper left", frameon=False)
            ax.set_xlim(hours[0], hours[-1] if len(hours) > 1 else hours[0] + 1)
        said = f"{study.summary['households']:,} households, {study.summary['cars']:,} cars charging"
        figure.suptitle(drawable(f"{study.network}: {said}"))
        write_png(figure, path, dpi=110)
    return path
