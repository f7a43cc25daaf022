"""Traffic counts: fitting the traffic outside the fleet to them, and how well a run agrees.

A journey j of the demand starts x[j, h] = f[j] g[h] b[j, h] times in clock hour h, b being what the model
says without counts. Its route passes counter s A[s, j] times, so the counter sees A x + the fleet's own cars.
Factors f and g are found by the multiplicative updates of expectation maximisation for Poisson counts (Richardson 1972,
Lucy 1974; for matrices from counts: Spiess 1987): every round multiplies a factor by the mean, over what it
sends past counters, of counted over modelled. The likelihood never falls, factors stay positive, and journeys
past no counter keep f = 1. Routes are those of empty streets and a trip counts in the hour in which it starts.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from twin.events import Column, Table
from twin.traffic.routing import Router

HOURS = 24
ROUNDS = 80
GOOD_GEH = 5.0
"""Hourly volumes closer than this are taken to agree (UK Design Manual for Roads and Bridges, volume 12)."""

COUNTS = {
    "counter": Column("str", "", "name of the counter"),
    "hour": Column("i4", "", "hour of the run, 0 is the first"),
    "counted": Column("f8", "", "vehicles an hour, as counted"),
    "driven": Column("i8", "", "vehicles that left the counter's links in that hour of the run"),
    "geh": Column("f8", "", "GEH statistic of the two"),
}


class Counts(NamedTuple):
    """Counted vehicles an hour.

    Attributes
    ----------
    names : list of str
        Counters.
    ptr : int64 (counters + 1,)
        Counter s counts on the links `link[ptr[s]:ptr[s+1]]` together.
    link : int32
    hourly : float64 (counters, 24)
        By clock hour, NaN where nothing was counted.
    """

    names: list[str]
    ptr: NDArray[np.int64]
    link: NDArray[np.int32]
    hourly: NDArray[np.float64]


class Fit(NamedTuple):
    """Result of `fit`.

    Attributes
    ----------
    journey : float64 (groups,)
        Factor of each group of journeys; their mean, weighted by the trips they stand for, is 1.
    hour : float64 (24,)
        Factor of each clock hour.
    before, after : float64 (counters, 24)
        Modelled vehicles an hour without and with the factors.
    """

    journey: NDArray[np.float64]
    hour: NDArray[np.float64]
    before: NDArray[np.float64]
    after: NDArray[np.float64]


class Adjustable(Protocol):
    """Traffic that can be fitted to counts."""

    pair_from: NDArray[np.int32]
    pair_to: NDArray[np.int32]

    def expected(self, day: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Expected trips (pairs, 24) by pair and clock hour, and the group (pairs,) whose factor each pair shares."""
        ...

    def adjust(self, journey: NDArray[np.float64], hour: NDArray[np.float64]) -> None:
        """Multiply demand by factors of its groups and of clock hours, for the whole run."""
        ...


def geh(modelled: NDArray[np.float64], counted: NDArray[np.float64]) -> NDArray[np.float64]:
    """GEH statistic of hourly volumes, sqrt(2 (m - c)^2 / (m + c)); 0 where both are 0.

    Examples
    --------
    >>> geh(np.array([110.0, 0.0]), np.array([90.0, 0.0])).round(3).tolist()
    [2.0, 0.0]
    """
    total = modelled + counted
    found: NDArray[np.float64] = np.sqrt(2.0 * (modelled - counted) ** 2 / np.where(total > 0, total, 1.0))
    return found


def fit(
    visits: csr_array,
    base: NDArray[np.float64],
    group: NDArray[np.int64],
    counted: NDArray[np.float64],
    fixed: NDArray[np.float64],
    *,
    rounds: int = ROUNDS,
) -> Fit:
    """Factors that bring modelled hourly volumes to counted ones.

    Parameters
    ----------
    visits : sparse (counters, journeys)
        How often a journey passes a counter.
    base : float64 (journeys, 24)
        Expected trips.
    group : int64 (journeys,)
        Journeys that share a factor, numbered from 0.
    counted : float64 (counters, 24)
        NaN where nothing was counted.
    fixed : float64 (counters, 24)
        Vehicles that are not adjusted: the fleet.
    """
    known = np.isfinite(counted)
    size = int(group.max()) + 1 if len(group) else 0
    journey, hour = np.ones(size), np.ones(HOURS)
    before = visits @ base + fixed
    to_journeys = visits.T.tocsr()
    for _ in range(rounds):
        own = (visits @ (base * journey[group][:, None])) * hour
        model = own + fixed
        ratio = np.where(known & (model > 0), np.nan_to_num(counted) / np.where(model > 0, model, 1.0), 0.0)
        live = known & (model > 0)
        seen = np.where(live, own, 0.0).sum(axis=0)
        change = np.divide((ratio * own).sum(axis=0), seen, out=np.ones(HOURS), where=seen > 0)
        hour = hour * change
        own = own * change
        model = own + fixed
        ratio = np.where(live, np.nan_to_num(counted) / np.where(model > 0, model, 1.0), 0.0)
        weight = base * hour
        wanted = np.bincount(group, ((to_journeys @ ratio) * weight).sum(axis=1), size)
        passed = np.bincount(group, ((to_journeys @ live.astype(float)) * weight).sum(axis=1), size)
        journey = journey * np.divide(wanted, passed, out=np.ones(size), where=passed > 0)
    trips = np.bincount(group, base.sum(axis=1), size)
    mean = float((journey * trips).sum() / trips.sum()) if trips.sum() > 0 else 1.0
    # hours without a count follow the others
    dark = ~known.any(axis=0)
    if dark.any() and not dark.all():
        hour[dark] = float((hour * base.sum(axis=0))[~dark].sum() / max(base.sum(axis=0)[~dark].sum(), 1e-12))
    if mean > 0:
        journey, hour = journey / mean, hour * mean
    after = (visits @ (base * journey[group][:, None])) * hour + fixed
    return Fit(journey, hour, before, after)


class CountFit:
    """Counters on the streets of a run: demand is fitted to them, and the run is held against them.

    Parameters
    ----------
    counts : Counts
    traffic : Adjustable
        Traffic outside the fleet; it is adjusted once, at the start.
    router : Router
    free_ms : int64 (links,)
        Time on empty streets, which routes are looked for with.
    fleet : tuple of int arrays
        (from node, to node, clock hour) of the fleet's trips on a day.
    into_day_h : float
        Clock hour at which the run starts.
    """

    def __init__(
        self,
        counts: Counts,
        traffic: Adjustable,
        router: Router,
        free_ms: NDArray[np.int64],
        *,
        fleet: tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]],
        into_day_h: float,
    ) -> None:
        self.counts = counts
        self.into_day_h = into_day_h
        start, goal, hour = fleet
        own = _visits(counts, router, free_ms, start, goal)
        clock = csr_array((np.ones(len(hour)), (np.arange(len(hour)), hour)), shape=(len(hour), HOURS))
        base, group = traffic.expected(0)
        visits = _visits(counts, router, free_ms, traffic.pair_from, traffic.pair_to)
        self.found = fit(visits, base, group, counts.hourly, np.asarray((own @ clock).toarray(), float))
        traffic.adjust(self.found.journey, self.found.hour)

    def table(self, links: Table) -> Table:
        """Counted and driven vehicles of every full hour of the run, from the table of links."""
        counts, out = self.counts, Table("counts", COUNTS)
        size = len(counts.names)
        hours = np.asarray(links["hour"], np.int64)
        many = int(hours.max()) + 1 if len(hours) else 0
        counter = np.repeat(np.arange(size), np.diff(counts.ptr))
        driven = np.zeros((size, many), np.int64)
        link, vehicles = np.asarray(links["link_id"], np.int64), np.asarray(links["vehicles"], np.int64)
        for s, on in zip(counter.tolist(), counts.link.tolist(), strict=True):
            rows = np.flatnonzero(link == on)
            np.add.at(driven[s], hours[rows], vehicles[rows])
        if self.into_day_h % 1:
            return out  # counts are by full clock hours, and this run's hours are not
        for hour in range(many):
            counted = counts.hourly[:, (int(self.into_day_h) + hour) % HOURS]
            known = np.flatnonzero(np.isfinite(counted))
            out.append(
                counter=np.array(counts.names, object)[known],
                hour=hour,
                counted=counted[known],
                driven=driven[known, hour],
                geh=geh(driven[known, hour].astype(float), counted[known]),
            )
        return out

    def summary(self, links: Table) -> dict[str, float]:
        """Fit of the plan and of the run, for `summary.json`."""
        table = self.table(links)
        found, known = self.found, np.isfinite(self.counts.hourly)
        counted = self.counts.hourly[known]
        run = np.asarray(table["geh"], float)
        total = float(np.asarray(table["counted"], float).sum())
        return {
            "counters": len(self.counts.names),
            "hours_counted": int(known.sum()),
            "planned_geh_under_5_before": _good(geh(found.before[known], counted)),
            "planned_geh_under_5": _good(geh(found.after[known], counted)),
            "geh_under_5": _good(run),
            "geh_mean": float(run.mean()) if len(run) else 0.0,
            "driven_over_counted": float(np.asarray(table["driven"], float).sum() / total) if total > 0 else 0.0,
        }


def _good(values: NDArray[np.float64]) -> float:
    return float((values < GOOD_GEH).mean()) if len(values) else 0.0


def _visits(
    counts: Counts,
    router: Router,
    free_ms: NDArray[np.int64],
    start: NDArray[np.int32],
    goal: NDArray[np.int32],
) -> csr_array:
    """How often the route of each pair passes each counter, sparse (counters, pairs)."""
    counter = np.full(router.network.n_links, -1)
    counter[counts.link] = np.repeat(np.arange(len(counts.names)), np.diff(counts.ptr))
    routes = router.routes(start, goal, free_ms)
    pair = np.repeat(np.arange(len(start)), np.diff(routes.ptr))
    at = counter[routes.links]
    seen = at >= 0
    return csr_array((np.ones(int(seen.sum())), (at[seen], pair[seen])), shape=(len(counts.names), len(start)))
