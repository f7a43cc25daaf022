"""Real LEAF trips, measured, against what the model says of them; nothing is fitted here.

Their files are read by `runs.trip_data`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from twin.energy import kernels
from twin.energy.climate import road_weather, winter_load_w
from twin.energy.drive import link_profile
from twin.energy.powertrain import J_PER_WH, on_the_road, trace_energy
from twin.fleet.catalogue import Catalogue, Param

MODEL = "leaf_aze0_24"
"""The catalogue's row for the 2013 LEAF."""

LINK_M = 300.0
"""Length of the pieces that stand for links."""
FREE_OVER_MEAN = 1.1
"""A piece's free speed over the highest mean speed of it and its neighbours, as no limits are given. An assumption."""


class RealTrip(NamedTuple):
    """One measured trip."""

    vehicle: int
    trip: int
    week: int
    km: float
    outside_c: float
    hvac_wh: float  # metered by heater and air conditioner
    battery_wh: float  # net, out of the battery
    speed_mps: NDArray[np.float64]  # each second


class Prediction(NamedTuple):
    """Trips measured and predicted; one entry per trip."""

    vehicle: NDArray[np.int64]
    week: NDArray[np.int64]
    km: NDArray[np.float64]
    outside_c: NDArray[np.float64]
    measured_wh: NDArray[np.float64]
    trace_wh: NDArray[np.float64]
    link_wh: NDArray[np.float64]


def predict(trips: list[RealTrip], catalogue: Catalogue) -> Prediction:
    """Battery energy of each trip from its speeds, and from mean speeds of its pieces alone.

    Both take the outside temperature and the metered heating as given.
    """
    p = on_the_road(catalogue)[catalogue.row(MODEL)]
    celsius = np.array([t.outside_c for t in trips])
    rolling, drag, loss = road_weather(celsius)
    load = winter_load_w(celsius)
    by_trace, by_link = np.zeros(len(trips)), np.zeros(len(trips))
    for i, trip in enumerate(trips):
        weather = {"loss": float(loss[i]), "rolling": float(rolling[i]), "drag": float(drag[i])}
        by_trace[i] = trace_energy(p, trip.speed_mps, cabin_w=float(load[i]), **weather).bus_j
        by_link[i] = links_j(p, trip.speed_mps, cabin_w=float(load[i]), **weather)
    metered = np.array([t.hvac_wh for t in trips])
    return Prediction(
        vehicle=np.array([t.vehicle for t in trips]),
        week=np.array([t.week for t in trips]),
        km=np.array([t.km for t in trips]),
        outside_c=celsius,
        measured_wh=np.array([t.battery_wh for t in trips]),
        trace_wh=by_trace / J_PER_WH + metered,
        link_wh=by_link / J_PER_WH + metered,
    )


def links_j(
    p: NDArray[np.float64],
    speed_mps: NDArray[np.float64],
    *,
    cabin_w: float = 0.0,
    loss: float = 1.0,
    rolling: float = 1.0,
    drag: float = 1.0,
) -> float:
    """Battery energy, J, from lengths and mean speeds of 300 m pieces, by the model of the fleet's links.

    Arguments as of `powertrain.trace_energy`.
    """
    f = link_profile()
    x = np.cumsum(0.5 * (speed_mps[1:] + speed_mps[:-1]))
    edges = np.concatenate([[0], np.searchsorted(x, np.arange(LINK_M, x[-1], LINK_M)), [len(x)]])
    seconds = np.diff(edges).astype(float)
    metres = np.diff(np.concatenate([[0.0], x])[edges])
    # nothing below looks at the trace again
    mean = metres / seconds
    around = np.concatenate([[0.0], mean, [0.0]])
    free = FREE_OVER_MEAN * np.maximum(mean, np.maximum(around[:-2], around[2:]))
    total = (p[Param.AUX] + cabin_w) * seconds.sum()
    for i in np.flatnonzero(metres >= 5.0):  # less is standing at the end of a trip
        calm = max(f[kernels.CALM_MIN], f[kernels.CALM_0] - f[kernels.CALM_V] * free[i])
        busy = max(calm, f[kernels.BUSY_0] + f[kernels.BUSY_V] * free[i])
        wheel, braked, moving = kernels.wheel(
            metres[i], free[i], metres[i] / free[i], calm, busy, 0.0, seconds[i],
            p[Param.INERTIA], rolling * p[Param.A], rolling * p[Param.B], drag * p[Param.C], 0.0, f,
        )  # fmt: skip
        total += wheel * loss / p[Param.ETA_DRIVE] - braked * p[Param.REGEN_SHARE] * p[Param.ETA_REGEN]
        total += p[Param.P_CONST] * moving
    return float(total)


def weighted_error(predicted: NDArray[np.float64], measured: NDArray[np.float64]) -> float:
    """Sum of absolute errors over the sum of what was measured."""
    return float(np.abs(predicted - measured).sum() / measured.sum())


def bias(predicted: NDArray[np.float64], measured: NDArray[np.float64]) -> float:
    """How much the sum is too high, as a share of what was measured."""
    return float(predicted.sum() / measured.sum() - 1.0)


def cold_ratio(wh: NDArray[np.float64], km: NDArray[np.float64], outside_c: NDArray[np.float64]) -> float:
    """Wh/km below 0 °C over Wh/km from 10 to 20 °C."""
    cold, mild = outside_c < 0.0, (outside_c >= 10.0) & (outside_c < 20.0)
    return float(wh[cold].sum() / km[cold].sum() / (wh[mild].sum() / km[mild].sum()))
