"""Peaks of sites, feeders, transformers and the city: charging alone, and with what households draw."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twin.chance import Stream, chance
from twin.events import Column, Table

Floats = NDArray[np.float64]

LEVELS = ("site", "feeder", "transformer", "city")

GRID_PEAKS = {
    "level": Column("str", "", "site, feeder, transformer or city"),
    "id": Column("i4", "", "site_id, feeder_id, row of the transformer, or 0"),
    "name": Column("str", "", "label"),
    "households": Column("i8", "", "households on it"),
    "cars": Column("i8", "", "cars that charged there"),
    "energy_kwh": Column("f8", "kWh", "charging, at the meter"),
    "peak_kw": Column("f8", "kW", "highest interval mean of charging"),
    "peak_time_s": Column("f8", "s", "start of that interval, since the scenario's start"),
    "coincidence": Column("f8", "", "that peak over the sum of its cars' own peaks; null when nobody charged"),
    "rated_kw": Column("f8", "kW", "what it can carry; null where nothing says"),
    "base_peak_kw": Column("f8", "kW", "highest interval mean of the households"),
    "total_peak_kw": Column("f8", "kW", "highest interval mean of households and charging"),
    "total_peak_time_s": Column("f8", "s", "start of that interval"),
    "loading": Column("f8", "", "total peak over rating"),
    "hours_over": Column("f8", "h", "time above the rating, with charging"),
    "base_hours_over": Column("f8", "h", "time above the rating without charging"),
}

BASE_LOAD = {
    "time_s": Column("f8", "s", "start of the interval, since the scenario's start"),
    "profile": Column("str", "", "profile"),
    "kw_per_household": Column("f8", "kW", "mean power of one household"),
    "households": Column("i8", "", "households of the city with this profile"),
}

GRID_ADMD = {
    "n": Column("i8", "", "cars with a socket at home in a random group"),
    "admd_kw": Column("f8", "kW", "highest interval mean of home charging per car, mean over groups"),
    "low_kw": Column("f8", "kW", "2.5 % of groups are below"),
    "high_kw": Column("f8", "kW", "2.5 % of groups are above"),
    "coincidence": Column("f8", "", "group's peak over the sum of its cars' own peaks, mean over groups"),
}

GRID_FEEDERS = {
    "feeder_id": Column("i4", "", "feeder with cars at home, row of the feeders"),
    "time_s": Column("f8", "s", "start of the interval, since the scenario's start"),
    "cars": Column("i8", "", "electric cars with a socket at home on it"),
    "households_kw": Column("f8", "kW", "mean power of its households"),
    "charging_kw": Column("f8", "kW", "mean power of charging in this run"),
    "low_kw": Column("f8", "kW", "charging: 2.5 % are below, were other cars of this fleet at home here"),
    "high_kw": Column("f8", "kW", "charging: 2.5 % are above"),
}

GRID_HOSTING = {
    "cars_per_household": Column("f8", "", "electric cars with a socket at home per household"),
    "over_share": Column("f8", "", "share of feeders above their rating, mean over repeats"),
    "low": Column("f8", "", "2.5 % of repeats are below"),
    "high": Column("f8", "", "2.5 % of repeats are above"),
}


def deal_profiles(households: NDArray[np.int64], profiles: int, *, seed: int) -> NDArray[np.int64]:
    """Households of each feeder by profile, each dealt one at random, shape (n_feeders, n_profiles).

    Examples
    --------
    >>> deal_profiles(np.array([3, 0]), 1, seed=1).tolist()
    [[3], [0]]
    """
    if profiles == 1:
        return np.asarray(households, np.int64)[:, None].copy()
    feeder = np.repeat(np.arange(len(households)), households)
    dealt = (chance(seed, Stream.PROFILE, np.arange(len(feeder))) * profiles).astype(np.int64)
    flat = np.bincount(feeder * profiles + dealt, minlength=len(households) * profiles)
    return flat.reshape(len(households), profiles).astype(np.int64)


def add_peaks(
    table: Table,
    level: str,
    *,
    ids: NDArray[np.int64],
    names: list[str],
    households: NDArray[np.int64],
    cars: NDArray[np.int64],
    cars_peak_kw: Floats,
    load_kw: Floats,
    base_kw: Floats,
    rated_kw: Floats,
    interval_s: float,
) -> None:
    """Write the rows of one level.

    Parameters
    ----------
    table : Table
        With the columns `GRID_PEAKS`.
    ids, households, cars, rated_kw : ndarray, shape (n,)
        `rated_kw` is NaN where nothing says.
    cars_peak_kw : ndarray of float64, shape (n,)
        Sum of the highest interval means of the cars that charged there.
    load_kw, base_kw : ndarray of float64, shape (n, n_intervals)
    """
    n = len(ids)
    rows = np.arange(n)
    total = load_kw + base_kw
    at, total_at = load_kw.argmax(axis=1), total.argmax(axis=1)
    peak, total_peak = load_kw[rows, at], total[rows, total_at]
    limit = np.where(np.isnan(rated_kw), np.inf, rated_kw) + 1e-4  # a cap met to the joule is not passed
    with np.errstate(invalid="ignore"):
        loading = total_peak / rated_kw
    table.append(
        level=np.full(n, level, object),
        id=ids,
        name=np.array(names, object),
        households=households,
        cars=cars,
        energy_kwh=load_kw.sum(axis=1) * interval_s / 3600,
        peak_kw=peak,
        peak_time_s=at * interval_s,
        coincidence=np.divide(peak, cars_peak_kw, out=np.full(n, np.nan), where=cars_peak_kw > 0),
        rated_kw=rated_kw,
        base_peak_kw=base_kw.max(axis=1),
        total_peak_kw=total_peak,
        total_peak_time_s=total_at * interval_s,
        loading=loading,
        hours_over=(total > limit[:, None]).sum(axis=1) * interval_s / 3600,
        base_hours_over=(base_kw > limit[:, None]).sum(axis=1) * interval_s / 3600,
    )
