"""Days of learning: the same day driven again and again, until hardly anyone would gain by another route.

The method of successive averages on drivers (Robbins and Monro 1951; for assignment Sheffi, "Urban
Transportation Networks", 1985, ch. 5): after day n each driver looks, with chance 1/(n + 1), at that
day's travel times by hour of departure, and from then on drives what was cheapest on them. So on every
day the drivers are spread evenly over the days they have learned from, and where flows settle nobody
has a reason to move: user equilibrium, on the times that this engine produces.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from maps.network import RoadNetwork
from twin.chance import Stream, chance
from twin.demand.days import Demand
from twin.demand.given import GivenDays, GivenTraffic
from twin.demand.other_traffic import OtherTraffic
from twin.settings import TrafficSettings
from twin.traffic.engine import Streets
from twin.traffic.heavy import counts_for
from twin.traffic.right_of_way import RightOfWay
from twin.traffic.routing import Router, Routes
from twin.traffic.traversals import Traversals

DAY_MS = 86_400_000
PERIOD_MS = 3_600_000
"""Drivers know one travel time per link and hour."""
TICK_MS = 60_000
MOST_DAYS = 64


class DayTrips(NamedTuple):
    """Trips of one day in order of departure; arrays of one length.

    Attributes
    ----------
    depart_ms : int64
    origin, target : int32
        Nodes.
    driver, moment : int64
        Whose draws decide when the driver learns; `moment` tells trips of one number apart.
    """

    depart_ms: NDArray[np.int64]
    origin: NDArray[np.int32]
    target: NDArray[np.int32]
    driver: NDArray[np.int64]
    moment: NDArray[np.int64]

    @classmethod
    def of(
        cls, demand: Demand | GivenDays, other: OtherTraffic | GivenTraffic, until_ms: int, *, cars: int
    ) -> DayTrips:
        """What the fleet's `cars` plan and what other cars do from the start of the run, for a day at most."""
        end = min(until_ms, DAY_MS)
        plans = [demand.plan_day(day) for day in (0, 1)]
        fleet = [plan.take((plan.depart_ms >= 0) & (plan.depart_ms < end)) for plan in plans]
        own = np.concatenate([plan.car for plan in fleet]).astype(np.int64)
        others = other.trips(0, end)
        pair = others.pair.astype(np.int64)
        trips = cls(
            np.concatenate([*(plan.depart_ms for plan in fleet), others.depart_ms]),
            np.concatenate([*(plan.from_node for plan in fleet), other.pair_from[pair]]).astype(np.int32),
            np.concatenate([*(plan.to_node for plan in fleet), other.pair_to[pair]]).astype(np.int32),
            np.concatenate([own, cars + pair]),
            np.concatenate([np.zeros(len(own), np.int64), others.depart_ms]),
        )
        return trips.take(np.lexsort((trips.driver, trips.depart_ms)))

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> DayTrips:
        """The trips at `rows`."""
        return DayTrips(
            self.depart_ms[rows], self.origin[rows], self.target[rows], self.driver[rows], self.moment[rows]
        )


class LearnedDay(NamedTuple):
    """How one day of learning went.

    Attributes
    ----------
    day : int
    gap : float
        Relative gap: what drivers would have saved that day on the cheapest routes by its own times,
        as a share of what they spent by them.
    mean_s : float
        From planned departure to arrival, of those who arrived.
    trips, arrived : int
    """

    day: int
    gap: float
    mean_s: float
    trips: int
    arrived: int


@dataclass(frozen=True)
class Learned:
    """What drivers know after the days of learning.

    Attributes
    ----------
    cost_ms : int32, shape (days + 1, periods, n_links)
        Travel times by day and hour of departure; day 0 is empty streets.
    days : list of LearnedDay
    unroutable : int
        Trips that lead nowhere, left out.
    """

    cost_ms: NDArray[np.int32]
    days: list[LearnedDay]
    unroutable: int
    seed: int

    def day_of(self, driver: ArrayLike, moment: ArrayLike = 0) -> NDArray[np.int64]:
        """Day from which each driver has the travel times that decide now."""
        driver, moment = np.broadcast_arrays(np.asarray(driver, np.int64), np.asarray(moment, np.int64))
        known = np.zeros(len(driver), np.int64)
        for day in range(1, len(self.cost_ms)):
            known[learns(self.seed, driver, moment, day)] = day
        return known

    def times(self, day: int, at_ms: int) -> NDArray[np.int64]:
        """Travel time of every link as learned on a day, for departures at a time of the run, ms."""
        return np.asarray(self.cost_ms[day, at_ms % DAY_MS // PERIOD_MS], np.int64)


def learns(seed: int, driver: NDArray[np.int64], moment: NDArray[np.int64], day: int) -> NDArray[np.bool_]:
    """Who looks at the times of a day and drives by them from the next one on: one of day + 1."""
    return np.asarray(chance(seed, Stream.LEARN, driver, moment * MOST_DAYS + day) < 1 / (day + 1))


def learn(
    network: RoadNetwork,
    settings: TrafficSettings,
    router: Router,
    trips: DayTrips,
    *,
    days: int,
    seed: int,
    cars: int = 0,
    priority: RightOfWay | None = None,
) -> Learned:
    """Drive a day over and over while drivers learn.

    Parameters
    ----------
    network : RoadNetwork
        With the speeds that are driven.
    settings : TrafficSettings
    router : Router
        On the same network; its lower bound is the engine's free-flow time.
    trips : DayTrips
    days : int
        How many, below 64.
    seed : int
    cars : int
        Of the fleet: drivers below are its cars, others may drive lorries.
    priority : RightOfWay, optional
        Who gives way, as in the run.

    Returns
    -------
    Learned
        The day after these is the run's: its drivers are spread over `days + 1` sets of times.
    """
    if not 0 < days < MOST_DAYS:
        raise ValueError(f"days of learning are 1 to {MOST_DAYS - 1}, not {days}")
    free_ms = Streets(network, settings, 0, priority=priority).physics.free_ms
    periods = DAY_MS // PERIOD_MS
    cost = np.empty((days + 1, periods, network.n_links), np.int32)
    cost[0] = free_ms
    routes = router.routes(trips.origin, trips.target, free_ms)
    planned = len(trips.depart_ms)
    trips, routes = trips.take(routes.found), routes.only(routes.found)
    size = np.where(trips.driver < cars, 1.0, counts_for(settings, seed, trips.driver, trips.depart_ms))
    told: list[LearnedDay] = []
    for day in range(1, days + 1):
        cost[day], travel_ms = _drive(network, settings, trips, routes, size, priority)
        spent = _spent(trips, routes, cost[day])
        best = _cheapest(router, trips, cost[day])
        least = _spent(trips, best, cost[day])
        arrived = travel_ms >= 0
        gap = float((spent - least).sum() / max(int(spent.sum()), 1))
        mean_s = float(travel_ms[arrived].mean() / 1000) if arrived.any() else 0.0
        told.append(LearnedDay(day, gap, mean_s, len(travel_ms), int(arrived.sum())))
        looks = learns(seed, trips.driver, trips.moment, day)
        routes = routes.replaced(looks, best.only(looks))
    return Learned(cost, told, planned - len(trips.depart_ms), seed)


def _drive(
    network: RoadNetwork,
    settings: TrafficSettings,
    trips: DayTrips,
    routes: Routes,
    size: NDArray[np.float64],
    priority: RightOfWay | None,
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Drive the trips; travel times by hour and link, and of each trip (-1: not arrived within the day)."""
    streets = Streets(network, settings, 0, priority=priority)
    rows = streets.rows_for(len(trips.depart_ms))
    trip_of = np.full(streets.rows, -1, np.int64)
    trip_of[rows] = np.arange(len(rows))
    streets.depart(rows, trips.depart_ms, routes.ptr, routes.links, gap=size, size=size)
    travel_ms = np.full(len(rows), -1, np.int64)
    cost = np.empty((DAY_MS // PERIOD_MS, network.n_links), np.int32)
    cost[:] = streets.physics.free_ms
    sums, nothing = streets.link_sums, Traversals(1)
    for period in range(len(cost)):
        if np.all(travel_ms >= 0):
            break
        for end in range(period * PERIOD_MS + TICK_MS, (period + 1) * PERIOD_MS + 1, TICK_MS):
            gone = streets.advance(end, nothing)
            who = trip_of[gone.vehicle]
            travel_ms[who] = gone.at_ms - trips.depart_ms[who]
        now = streets.link_sums
        cost[period] = np.minimum(streets.current_ms(now - sums, (period + 1) * PERIOD_MS), np.iinfo(np.int32).max)
        sums = now
    return cost, travel_ms


def _cheapest(router: Router, trips: DayTrips, cost: NDArray[np.int32]) -> Routes:
    """Cheapest routes by the times of each trip's hour of departure."""
    cuts = np.searchsorted(trips.depart_ms, np.arange(len(cost) + 1) * PERIOD_MS)
    parts = [
        router.routes(trips.origin[a:b], trips.target[a:b], cost[period].astype(np.int64))
        for period, (a, b) in enumerate(pairwise(cuts.tolist()))
        if b > a
    ]
    return Routes.joined(parts)


def _spent(trips: DayTrips, routes: Routes, cost: NDArray[np.int32]) -> NDArray[np.int64]:
    """Time of each route by the times of its hour of departure, ms."""
    hour = np.repeat(trips.depart_ms // PERIOD_MS, np.diff(routes.ptr))
    run = np.concatenate([[0], np.cumsum(cost[hour, routes.links].astype(np.int64))])
    return np.asarray(run[routes.ptr[1:]] - run[routes.ptr[:-1]], np.int64)
