"""Which house or substation of a network carries which household, car and charging site of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from runs.estimates import column, load_by_session
from twin import facts
from twin.grid.base_load import GridError

if TYPE_CHECKING:
    from runs.results import RunResult

Floats = NDArray[np.float64]

LOW_VOLTAGE_KV = 1.0
STREET_KW = 15.0
"""A low-voltage load of this power or more stands for several households (assumption)."""


@dataclass(frozen=True, eq=False)
class Placed:
    """What the loads of a network draw.

    Attributes
    ----------
    time_s : ndarray of float64, shape (steps,)
    base_kw, base_kvar, charging_kw : ndarray of float64, shape (steps, loads)
        In the order of the net's loads. Cars draw no reactive power.
    households, cars : ndarray of int64, shape (loads,)
        Placed at each load.
    low_voltage : bool
    left_kwh : float
        Charging of the run that is not on this network.
    """

    time_s: Floats
    base_kw: Floats
    base_kvar: Floats
    charging_kw: Floats
    households: NDArray[np.int64]
    cars: NDArray[np.int64]
    low_voltage: bool
    left_kwh: float


def place(net: Any, run: RunResult, *, scale: float = 1.0) -> Placed:
    """Put a run on the loads of a net.

    A low-voltage net gets the neighbourhood around the run's most loaded feeder: one household per load with the
    run's household profile (more where a load stands for a street, see `households_of`), and the cars that charge at
    home there. Of the net's own loads only the power factor is kept. A net of higher
    voltage keeps its own loads as peaks of the household profile and gets all feeders and sites of the city, cut into
    parts as large as its loads.

    Parameters
    ----------
    net : pandapowerNet
    run : RunResult
    scale : float
        Multiplies charging, for a fleet that is a sample of the city's cars.

    Raises
    ------
    GridError
        When the net has no load, or the run no grid tables.
    """
    if not len(net.load):
        raise GridError("the network has no load to put households and cars on")
    for name in ("base_load", "grid_peaks"):
        if name not in run.tables:
            raise GridError(f"{run.path}: no table {name!r}; run it again with this version")
    interval_s = run.scenario.grid.interval_min * 60.0
    steps = max(1, math.ceil(float(run.manifest["simulated_s"]) / interval_s - 1e-9))
    household = _household(run, steps)
    native = np.maximum(net.load.p_mw.to_numpy(float) * net.load.scaling.to_numpy(float), 0.0)
    if not native.sum() > 0:
        raise GridError("the network's loads draw nothing")
    slope = np.divide(net.load.q_mvar.to_numpy(float), net.load.p_mw.to_numpy(float),
                      out=np.zeros(len(native)), where=native > 0)  # fmt: skip
    low = bool((net.bus.vn_kv.loc[net.load.bus].to_numpy(float) < LOW_VOLTAGE_KV).all())
    if low:
        room = households_of(native * 1000)
        base = household[:, None] * room
        charging, households, cars = _neighbourhood(run, room, steps, interval_s)
    else:
        top = household.max()
        base = (household / top if top > 0 else household)[:, None] * native * 1000
        charging, households, cars = _city(run, native, steps, interval_s)
    kwh = float(column(run.table("grid_load"), "power_kw").sum()) * interval_s / 3600
    left = kwh - float(charging.sum()) * interval_s / 3600
    time_s = np.arange(steps, dtype=np.float64) * interval_s
    return Placed(time_s, base, base * slope, charging * scale, households, cars, low, left)


def _household(run: RunResult, steps: int) -> Floats:
    """Mean power of the city's households, kW each."""
    table = run.table("base_load")
    step = np.rint(column(table, "time_s") / (run.scenario.grid.interval_min * 60.0)).astype(np.int64)
    weight = np.maximum(column(table, "households"), 1e-9)
    top = np.bincount(step, column(table, "kw_per_household") * weight, steps)
    return np.asarray(top / np.bincount(step, weight, steps))


def households_of(load_kw: Floats) -> NDArray[np.int64]:
    """Households behind each load of a low-voltage net: one, or as many as its power feeds if it stands for a street.

    Examples
    --------
    >>> households_of(np.array([2.0, 8.0, 30.0])).tolist()
    [1, 1, 20]
    """
    admd = facts.load("grid")["residential_load"]["uk"]["admd_kw_after_diversity"]
    return np.where(load_kw >= STREET_KW, np.rint(load_kw / admd), 1).astype(np.int64)


def _neighbourhood(
    run: RunResult, room: NDArray[np.int64], steps: int, interval_s: float
) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """Charging, households and cars at loads with room for so many households each."""
    peaks = run.table("grid_peaks").to_pandas()
    feeders = peaks[(peaks.level == "feeder") & (peaks.households > 0)].sort_values("id")
    load_of = np.repeat(np.arange(len(room)), room)  # of each house
    charging, (households, cars) = np.zeros((steps, len(room))), np.zeros((2, len(room)), np.int64)
    if not len(feeders):
        return charging, households, cars
    worst = int(feeders.id[feeders.loading.astype(float).idxmax()])
    # neighbours have near numbers: feeders are cut from the map by halves
    order = feeders.iloc[np.lexsort((feeders.id, np.abs(feeders.id - worst)))]
    sites = run.table("sites", ["site_id", "kind", "feeder_id"]).to_pandas()
    homes = sites[sites.kind == "home"].groupby("feeder_id").site_id.apply(list).to_dict()
    sessions = run.table("sessions")
    found = load_by_session(
        sessions, run.table("grid_load"), simulated_s=float(run.manifest["simulated_s"]), interval_s=interval_s
    )
    car, site = (column(sessions, name).astype(np.int64)[found.row] for name in ("car_id", "site_id"))
    taken = 0
    for feeder, count in zip(order.id.tolist(), order.households.tolist(), strict=True):
        fits = min(int(count), len(load_of) - taken)
        if fits <= 0:
            break
        loads = load_of[taken : taken + fits]
        np.add.at(households, loads, 1)
        mine = np.isin(site, homes.get(feeder, []))
        there, which = np.unique(car[mine], return_inverse=True)
        house = np.arange(len(there)) % int(count)
        placed = house[which] < fits  # the last feeder may not fit whole
        np.add.at(charging, (found.at[mine][placed], loads[house[which][placed]]), found.kw[mine][placed])
        np.add.at(cars, loads[house[house < fits]], 1)
        taken += fits
    return charging, households, cars


def _city(
    run: RunResult, native: Floats, steps: int, interval_s: float
) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    peaks = run.table("grid_peaks").to_pandas()
    feeders = peaks[peaks.level == "feeder"].sort_values("id")
    homes = feeders.households.to_numpy(np.int64)
    ends = np.cumsum(native) / native.sum()
    part = np.zeros(len(feeders), np.int64)
    middle = (np.cumsum(homes) - homes / 2) / max(int(homes.sum()), 1)
    part[homes > 0] = np.searchsorted(ends, np.minimum(middle[homes > 0], 1.0 - 1e-12))
    alone = np.flatnonzero(homes == 0)  # lines of their own: as often as a load is large
    part[alone] = np.searchsorted(ends, (np.arange(len(alone)) + 0.5) / max(len(alone), 1))
    part = np.minimum(part, len(native) - 1)
    of = dict(zip(feeders.id.tolist(), part.tolist(), strict=True))
    table = run.table("grid_load")
    at = np.minimum((column(table, "time_s") / interval_s).astype(np.int64), steps - 1)
    load = np.array([of[f] for f in column(table, "feeder_id").astype(int).tolist()], np.int64)
    charging = np.bincount(at * len(native) + load, column(table, "power_kw"), steps * len(native)).astype(float)
    households = np.bincount(part, homes, len(native)).astype(np.int64)
    cars = np.bincount(part, feeders.cars.to_numpy(np.int64), len(native)).astype(np.int64)
    return charging.reshape(steps, len(native)), households, cars
