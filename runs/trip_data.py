"""Files of real LEAF trips: the Vehicle Energy Dataset's 2013 cars, in any folder of the same layout.

`energy/ved_leaf2013_signals_*.parquet` has one row per sample, `energy/ved_leaf2013_trips_*.csv`
one per trip; any number of each.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from twin.energy.real_trips import RealTrip

SIGNALS, TRIPS = "ved_leaf2013_signals_*.parquet", "ved_leaf2013_trips_*.csv"
_SIGNAL_COLUMNS = ["veh_id", "trip", "t_ms", "speed_kmh"]


class TripDataError(ValueError):
    """Real trips cannot be read; one line with the place and what is wanted."""


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
