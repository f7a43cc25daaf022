"""The grid tables of a run: peaks of every level, ADMD by group size, hosting capacity."""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from runs.estimates import SessionLoad, column, load_by_session
from twin.chance import Stream, chance
from twin.charging.site import SiteKind
from twin.events import Table
from twin.fleet.fleet import Kind
from twin.grid.base_load import BaseLoad
from twin.grid.diversity import diversity, spread_of_load
from twin.grid.hosting import SHARES, hosting
from twin.grid.peaks import BASE_LOAD, GRID_ADMD, GRID_FEEDERS, GRID_HOSTING, GRID_PEAKS, add_peaks, deal_profiles

if TYPE_CHECKING:
    import pyarrow as pa

    from twin.charging.charging import Charging

Floats = NDArray[np.float64]

POOL = 2000
"""Cars whose load is looked at one by one, drawn at random from larger fleets."""
CELLS = 4_000_000
"""Intervals times places that are held at once."""


def grid_tables(
    charging: Charging,
    base: BaseLoad,
    sessions: pa.Table,
    grid_load: pa.Table,
    *,
    seed: int,
    start: datetime,
    simulated_s: float,
    interval_s: float,
    over_share: float,
) -> tuple[list[Table], dict[str, Any]]:
    """Tables `grid_peaks`, `base_load`, `grid_admd`, `grid_hosting`, `grid_feeders`, and what the summary says."""
    bins = max(1, math.ceil(simulated_s / interval_s - 1e-9))
    loads = load_by_session(sessions, grid_load, simulated_s=simulated_s, interval_s=interval_s)
    household = base.over(start, bins, interval_s)
    dealt = deal_profiles(charging.feeders.homes, len(base.names), seed=seed)
    peaks = _peaks(charging, sessions, grid_load, loads, household, dealt, bins=bins, interval_s=interval_s)
    profiles = Table("base_load", BASE_LOAD)
    for name, kw, count in zip(base.names, household, dealt.sum(axis=0).tolist(), strict=True):
        time_s = np.arange(bins) * interval_s
        profiles.append(time_s=time_s, profile=[name], kw_per_household=kw, households=[count])
    admd, hosts = Table("grid_admd", GRID_ADMD), Table("grid_hosting", GRID_HOSTING)
    said = _of_levels(peaks)
    cars_kw = _at_home(charging, sessions, loads, bins=bins, seed=seed)
    if len(cars_kw):
        found = diversity(cars_kw, seed=seed)
        admd.append(n=found.n, admd_kw=found.admd_kw, low_kw=found.low_kw, high_kw=found.high_kw,
                    coincidence=found.coincidence)  # fmt: skip
        said["admd"] = {
            "n": int(found.n[-1]), "kw": float(found.admd_kw[-1]),
            "low": float(found.low_kw[-1]), "high": float(found.high_kw[-1]),
        }  # fmt: skip
    lines = charging.feeders
    lived = np.flatnonzero(lines.homes > 0)
    if len(cars_kw) and len(lived):
        carried = hosting(
            dealt[lived] @ household, lines.homes[lived], lines.rated_kw[lived], cars_kw, over_share=over_share,
            seed=seed,
        )  # fmt: skip
        hosts.append(cars_per_household=SHARES, over_share=carried.share, low=carried.low, high=carried.high)
        said["hosting"] = {
            "over_share": over_share,
            "cars_per_household": carried.cars_per_household,
            "low": carried.least,
            "high": carried.most,
            "reached": carried.reached,
            "households": int(lines.homes.sum()),
        }
    load = _feeder_load(
        charging, grid_load, dealt @ household, cars_kw, peaks, bins=bins, interval_s=interval_s, seed=seed
    )
    return [peaks, profiles, admd, hosts, load], said


def _feeder_load(
    charging: Charging, grid_load: pa.Table, household_kw: Floats, cars_kw: Floats, peaks: Table, *, bins: int,
    interval_s: float, seed: int,
) -> Table:  # fmt: skip
    """Load of each feeder with cars at home by interval, and its range; the most loaded ones when they are too many."""
    table = Table("grid_feeders", GRID_FEEDERS)
    fleet, sites, own = charging.fleet, charging.sites, len(charging.feeders.x)
    homes = fleet.home_site[(fleet.kind == Kind.ELECTRIC) & (fleet.home_site >= 0)]
    cars = np.bincount(sites.site_feeder[homes], minlength=own)[:own]
    of_feeders = np.flatnonzero(peaks["level"] == "feeder")[:own]
    loading = np.nan_to_num(peaks["loading"][of_feeders].astype(float))
    shown = np.flatnonzero(cars)
    shown = np.sort(shown[np.argsort(-loading[shown], kind="stable")][: max(1, CELLS // bins)])
    if not len(shown):
        return table
    row_of = np.full(len(charging.load.feeder_peak_j), -1, np.int64)
    row_of[shown] = np.arange(len(shown))
    site = column(grid_load, "site_id").astype(np.int64)
    at = np.minimum((column(grid_load, "time_s") / interval_s).astype(np.int64), bins - 1)
    cell, kw = row_of[sites.site_feeder[site]] * bins + at, column(grid_load, "power_kw")
    use, home = cell >= 0, sites.site_kind[site] == SiteKind.HOME
    size = len(shown) * bins
    all_kw = np.bincount(cell[use], kw[use], size).astype(float).reshape(-1, bins)
    home_kw = np.bincount(cell[use & home], kw[use & home], size).astype(float).reshape(-1, bins)
    ranges = {n: spread_of_load(cars_kw, n, seed=seed) for n in np.unique(cars[shown]).tolist()}
    for i, feeder in enumerate(shown.tolist()):
        low, high = ranges[int(cars[feeder])]
        elsewhere = all_kw[i] - home_kw[i]
        table.append(
            feeder_id=feeder, time_s=np.arange(bins) * interval_s, cars=cars[feeder], charging_kw=all_kw[i],
            households_kw=household_kw[feeder], low_kw=low + elsewhere, high_kw=high + elsewhere,
        )  # fmt: skip
    return table


def _of_levels(peaks: Table) -> dict[str, Any]:
    said: dict[str, Any] = {}
    level, known = peaks["level"], ~np.isnan(peaks["rated_kw"].astype(float))
    for name in ("feeder", "transformer"):
        rows = (level == name) & known & (peaks["households"].astype(np.int64) > 0)
        over, before = peaks["hours_over"][rows].astype(float), peaks["base_hours_over"][rows].astype(float)
        said[f"{name}s"] = {
            "count": int(rows.sum()),
            "over_rating": int((over > 0).sum()),
            "over_rating_before": int((before > 0).sum()),
            "hours_over": float(over.sum()),
            "highest_loading": float(peaks["loading"][rows].astype(float).max(initial=0.0)),
        }
    return said


def _at_home(charging: Charging, sessions: pa.Table, loads: SessionLoad, *, bins: int, seed: int) -> Floats:
    """Load at home of each electric car with a socket there, kW, shape (cars, intervals); `POOL` of them at most."""
    fleet = charging.fleet
    pool = np.flatnonzero((fleet.kind == Kind.ELECTRIC) & (fleet.home_site >= 0))
    if len(pool) > POOL:
        drawn = np.argsort(chance(seed, Stream.DIVERSITY, pool, 1), kind="stable")[:POOL]
        pool = np.sort(pool[drawn])
    if not len(pool):
        return np.zeros((0, bins))
    place = np.full(len(fleet), -1, np.int64)
    place[pool] = np.arange(len(pool))
    car, site = (column(sessions, name).astype(np.int64)[loads.row] for name in ("car_id", "site_id"))
    use = (place[car] >= 0) & (charging.sites.site_kind[site] == SiteKind.HOME)
    cells = place[car[use]] * bins + loads.at[use]
    return np.bincount(cells, loads.kw[use], len(pool) * bins).astype(float).reshape(len(pool), bins)


def _peaks(
    charging: Charging, sessions: pa.Table, grid_load: pa.Table, loads: SessionLoad, household: Floats,
    dealt: NDArray[np.int64], *, bins: int, interval_s: float,
) -> Table:  # fmt: skip
    table = Table("grid_peaks", GRID_PEAKS)
    sites, lines = charging.sites, charging.feeders
    site = column(grid_load, "site_id").astype(np.int64)
    at = np.minimum((column(grid_load, "time_s") / interval_s).astype(np.int64), bins - 1)
    kw = column(grid_load, "power_kw")
    visitor, visited, own_kw = _own_peaks(sessions, loads)
    feeders, own = len(charging.load.feeder_peak_j), len(lines.x)
    nobody = np.zeros(feeders - own, np.int64)
    feeder_homes = np.concatenate([lines.homes, nobody])
    feeder_dealt = np.concatenate([dealt, np.zeros((feeders - own, dealt.shape[1]), np.int64)])
    # a line of its own is as strong as the sites on it: nothing says what it could carry
    rated = np.concatenate([lines.rated_kw, np.full(feeders - own, np.nan)])
    of_feeder = np.concatenate([lines.transformer, np.full(feeders - own, -1)]).astype(np.int64)
    transformers = len(lines.transformer_kw)
    transformer_homes = np.bincount(lines.transformer, lines.homes, transformers).astype(np.int64)
    transformer_dealt = np.zeros((transformers, dealt.shape[1]), np.int64)
    np.add.at(transformer_dealt, lines.transformer, dealt)
    names = [*lines.name, *(f"own line {i}" for i in range(own, feeders))]
    levels: list[tuple[str, NDArray[np.int64], list[str], NDArray[np.int64], NDArray[np.int64], Floats]] = [
        ("site", np.arange(len(sites)), list(sites.name), np.zeros(len(sites), np.int64),
         np.zeros((len(sites), dealt.shape[1]), np.int64), sites.cap_kw),
        ("feeder", sites.site_feeder.astype(np.int64), names, feeder_homes, feeder_dealt, rated),
        ("transformer", of_feeder[sites.site_feeder], [f"transformer {i}" for i in range(transformers)],
         transformer_homes, transformer_dealt, lines.transformer_kw),
        ("city", np.zeros(len(sites), np.int64), ["city"], lines.homes.sum()[None], dealt.sum(axis=0)[None],
         np.array([np.nan])),
    ]  # fmt: skip
    for level, of_site, labels, homes, counts, limit in levels:
        place, there = of_site[site], of_site[visited]
        cars = _cars(visitor, there, len(labels))
        cars_peak = np.bincount(there[there >= 0], own_kw[there >= 0], len(labels)).astype(float)
        order = np.argsort(place, kind="stable")
        step = max(1, CELLS // bins)
        for first in range(0, len(labels), step):
            rows = np.arange(first, min(first + step, len(labels)))
            part = order[slice(*np.searchsorted(place[order], [rows[0], rows[-1] + 1]))]
            load = np.bincount((place[part] - first) * bins + at[part], kw[part], len(rows) * bins)
            add_peaks(
                table, level, ids=rows, names=[labels[i] for i in rows], households=homes[rows], cars=cars[rows],
                cars_peak_kw=cars_peak[rows], load_kw=load.astype(float).reshape(len(rows), bins),
                base_kw=counts[rows] @ household, rated_kw=limit[rows], interval_s=interval_s,
            )  # fmt: skip
    return table


def _own_peaks(sessions: pa.Table, loads: SessionLoad) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Cars, sites, and the highest interval mean of each car at each site, kW."""
    car, site = (column(sessions, name).astype(np.int64)[loads.row] for name in ("car_id", "site_id"))
    if not len(car):
        return car, site, np.empty(0)
    cell, of = np.unique(np.stack([car, site, loads.at]), axis=1, return_inverse=True)
    summed = np.bincount(of.ravel(), loads.kw, cell.shape[1])
    pair, where = np.unique(cell[:2], axis=1, return_inverse=True)
    peak = np.zeros(pair.shape[1])
    np.maximum.at(peak, where.ravel(), summed)
    return pair[0], pair[1], peak


def _cars(car: NDArray[np.int64], place: NDArray[np.int64], places: int) -> NDArray[np.int64]:
    """Different cars at each place."""
    known = place >= 0
    pairs = np.unique(np.stack([place[known], car[known]]), axis=1)
    return np.bincount(pairs[0], minlength=places).astype(np.int64)
