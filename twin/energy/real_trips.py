"""Real LEAF trips, measured, against what the model says of them; nothing is fitted here.

Reads the Vehicle Energy Dataset's 2013 LEAFs as `energy/ved_leaf2013_signals_*.parquet`
(one row per sample) and `energy/ved_leaf2013_trips_*.csv` (one row per trip), any number of each.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from twin.energy import kernels
from twin.energy.climate import road_weather, winter_load_w
from twin.energy.drive import link_profile
from twin.energy.powertrain import J_PER_WH, on_the_road, trace_energy
from twin.fleet.catalogue import Catalogue, Param

MODEL = "leaf_aze0_24"
"""The catalogue's row for the 2013 LEAF."""

SIGNALS, TRIPS = "ved_leaf2013_signals_*.parquet", "ved_leaf2013_trips_*.csv"
LINK_M = 300.0
"""Length of the pieces that stand for links."""
FREE_OVER_MEAN = 1.1
"""A piece's free speed over the highest mean speed of it and its two neighbours: the data name no limits. Assumption."""

_SIGNAL_COLUMNS = ["veh_id", "trip", "t_ms", "speed_kmh"]


class TripDataError(ValueError):
    """Real trips cannot be read; one line with the place and what is wanted."""


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


def read_trips(folder: Path) -> list[RealTrip]:
    """Trips with `quality_ok` = 1 (over 2 km, no gap over 30 s) of all files in a folder.

    Parameters
    ----------
    folder : Path
        The data folder itself or its folder `energy`.

    Raises
    ------
    TripDataError
        When files or columns are missing, or a trip has no samples.
    """
    here = folder / "energy" if (folder / "energy").is_dir() else folder
    found = {pattern: sorted(here.glob(pattern)) for pattern in (SIGNALS, TRIPS)}
    for pattern, files in found.items():
        if not files:
            raise TripDataError(f"{here} has no file {pattern}")
    try:
        samples = pa.concat_tables([pyarrow.parquet.read_table(f, columns=_SIGNAL_COLUMNS) for f in found[SIGNALS]])
        signals = {name: samples[name].to_numpy() for name in _SIGNAL_COLUMNS}
        table = [row for f in found[TRIPS] for row in pyarrow.csv.read_csv(f).to_pylist()]
        good = [row for row in table if row["quality_ok"] == 1]
        key = _key(signals["veh_id"], signals["trip"])
        # by trip, then by time: the files promise no order
        order = np.lexsort((signals["t_ms"], key))
        key = key[order]
        t_s, v_mps = signals["t_ms"][order] / 1000.0, signals["speed_kmh"][order] / 3.6
        trips = []
        for row in good:
            wanted = int(_key(np.array([row["veh_id"]]), np.array([row["trip"]]))[0])
            first, last = np.searchsorted(key, [wanted, wanted + 1])
            if last - first < 2:
                raise TripDataError(f"{here}: vehicle {row['veh_id']:.0f}, trip {row['trip']:.0f} has no signals")
            trips.append(
                RealTrip(
                    vehicle=int(row["veh_id"]),
                    trip=int(row["trip"]),
                    week=int(row["week"]),
                    km=float(row["distance_km"]),
                    outside_c=float(row["oat_mean_c"]),
                    hvac_wh=1000.0 * row["hvac_kwh"],
                    battery_wh=1000.0 * row["battery_net_kwh"],
                    speed_mps=_each_second(t_s[first:last], v_mps[first:last]),
                )
            )
    except (KeyError, pa.ArrowInvalid, OSError) as error:
        raise TripDataError(f"{here}: cannot be read as trips and signals of the LEAFs: {error}") from None
    return trips


def _key(vehicle: NDArray[np.float64], trip: NDArray[np.float64]) -> NDArray[np.int64]:
    key: NDArray[np.int64] = vehicle.astype(np.int64) * 1_000_000 + trip.astype(np.int64)
    return key


def _each_second(t_s: NDArray[np.float64], v_mps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Speed each second, lightly smoothed: the logger holds a value for about a second, then steps."""
    v = np.interp(np.arange(t_s[0], t_s[-1] + 1), t_s, v_mps)
    smooth: NDArray[np.float64] = np.convolve(np.concatenate([v[:1], v, v[-1:]]), [0.25, 0.5, 0.25], "valid")
    return smooth


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
            p[Param.INERTIA], rolling * p[Param.A], rolling * p[Param.B], drag * p[Param.C], f,
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
