"""Traffic of cars outside the fleet: a normal day's trips, drawn from a pool of journeys.

How many: vehicles per lane and day that are normal on each class of street, times lane length, divided by the
metres a journey of the pool drives inside the extract; the fleet's own trips are taken off. When: the market's
starts by hour, a Poisson number in every minute. Where: through traffic from gate to gate, journeys in and
out, and journeys inside, in the proportions of a cordon cut out of a wider city.

Every minute's trips are a function of (seed, minute): ticks of any length see the same trips.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, pdtr, pdtrik

from maps.network import OUTSIDE, CityMap
from twin.chance import Stream, chance
from twin.demand.calendar import DAY_MS, Calendar
from twin.demand.distance import WORK, Distances, calibrate, fastest
from twin.demand.market import WEEKDAY, WEEKEND, DemandError, habits
from twin.demand.places import gate_flow, lane_flow
from twin.facts import load
from twin.settings import DemandSettings

INSIDE, THROUGH, INBOUND, OUTBOUND = range(4)
"""Kinds of journeys: home and activity inside; gate to gate; home outside; activity outside."""

MINUTE_MS = 60_000
POOL = 4000
CANDIDATES = 24


class OtherTrips(NamedTuple):
    """Departures of cars outside the fleet: `depart_ms` (int64, ascending) and `pair` (int32, row of the pool)."""

    depart_ms: NDArray[np.int64]
    pair: NDArray[np.int32]


class OtherTraffic:
    """Trips of cars outside the fleet.

    Parameters
    ----------
    city : CityMap
        Streets, places, gates.
    demand : DemandSettings
        `other_traffic` multiplies the normal day; 0 is none.
    market : {"japan", "europe", "us"}
        Whose hours and weekend.
    seed : int
        The run's seed.
    start : datetime or None
        Civil time of the scenario's start; without it days are of the kind `demand.weekday` and start at midnight.
    fleet_cars : int
        Cars of the fleet, whose trips are part of a normal day.
    distances : Distances, optional
        Road distances already calibrated on this map (`Demand.distances`).
    pool : int
        Journeys in the pool, so that routes can be kept.
    sample : float
        Share of all cars that is simulated; a car of the fleet stands for 1/sample cars like any other.

    Attributes
    ----------
    pair_from, pair_to : ndarray of int32, shape (2 * pool,)
        Origin and destination node. Rows from `pool` on are the same journeys back.
    pair_kind : ndarray of uint8
        INSIDE, THROUGH, INBOUND or OUTBOUND.
    trips_per_weekday, trips_per_weekend_day : float
        Expected trips of cars outside the fleet.
    limited : bool
        True when the mean over all lanes was held to `mean_vehicles_per_lane_day_most` (days.toml).

    Raises
    ------
    DemandError
        For an unknown market, or a map with fewer than two nodes to travel between.
    """

    def __init__(
        self,
        city: CityMap,
        demand: DemandSettings,
        *,
        market: str,
        seed: int,
        start: datetime | None,
        fleet_cars: int,
        distances: Distances | None = None,
        pool: int = POOL,
        sample: float = 1.0,
    ) -> None:
        if pool < 1 or fleet_cars < 0:
            raise DemandError(
                f"other traffic needs a pool of 1 or more and 0 or more fleet cars, not {pool}, {fleet_cars}"
            )
        self.seed = seed
        self.calendar = Calendar(start, demand.weekday)
        self.settings = demand
        self.sample = sample
        self._habits = (habits(market), habits(market, day_kind=WEEKEND))
        self._facts = load("days")["other_traffic"]
        homes = city.place_node[city.places("home")]
        self.distances = distances or calibrate(
            city, homes if len(homes) else city.place_node, city.place_node, seed=seed
        )
        self.across_m = _across(city)
        self._pool(city, pool)
        self._pair_cum: NDArray[np.float64] | None = None
        self._hour_factor = np.ones(24)
        self.mean_inside_m = self._inside_m(city)
        self._level(city, fleet_cars)

    def day_share(self, day: int) -> NDArray[np.float64]:
        """Expected trips in each clock hour of a day (0 is the date of the start), shape (24,)."""
        kind = self.calendar.kind(day)
        trips = self.trips_per_weekday if kind == WEEKDAY else self.trips_per_weekend_day
        return np.asarray(trips * self._habits[kind].start_share * self._hour_factor)

    def expected(self, day: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Expected trips (pairs, 24) by pair and clock hour, and the group of each pair: a journey and its way back."""
        half = len(self.pair_from) // 2
        hours, outward = self.day_share(day), self._outward(day)
        share = np.diff(self._pair_cum, prepend=0.0) / self._pair_cum[-1] if self._pair_cum is not None else None
        weight = np.full(half, 1.0 / half) if share is None else share
        out = weight[:, None] * (hours * outward)
        back = weight[:, None] * (hours * (1.0 - outward))
        return np.concatenate([out, back]), np.tile(np.arange(half), 2)

    def adjust(self, journey: NDArray[np.float64], hour: NDArray[np.float64]) -> None:
        """Weigh journeys of the pool, and multiply the trips of clock hours (see `twin.demand.counts`)."""
        if self._pair_cum is not None:
            raise DemandError("other traffic is adjusted to counts once")
        self._pair_cum = np.cumsum(journey)
        self._hour_factor = hour * float(journey.mean())

    def trips(self, t0_ms: int, t1_ms: int) -> OtherTrips:
        """Departures in [t0, t1), ms since the start of the scenario.

        Cutting the window anywhere gives the same trips.
        """
        if t1_ms <= t0_ms:
            return OtherTrips(np.zeros(0, np.int64), np.zeros(0, np.int32))
        minutes = np.arange(t0_ms // MINUTE_MS, (t1_ms - 1) // MINUTE_MS + 1)
        clock = minutes * MINUTE_MS + self.calendar.into_day_ms
        day, hour = clock // DAY_MS, clock % DAY_MS // 3_600_000
        expected, outward = np.zeros(len(minutes)), np.zeros(len(minutes))
        for d in np.unique(day):
            mine = day == d
            expected[mine] = self.day_share(int(d))[hour[mine]] / 60
            outward[mine] = self._outward(int(d))[hour[mine]]
        row = minutes + DAY_MS  # draws want rows that are not negative
        many = poisson(chance(self.seed, Stream.OTHER_TRAFFIC, row, 0), expected)
        slot = np.repeat(np.arange(len(minutes)), many)
        if not len(slot):
            return OtherTrips(np.zeros(0, np.int64), np.zeros(0, np.int32))
        serial = np.arange(len(slot)) - np.repeat(np.cumsum(many) - many, many) + 1
        within = (chance(self.seed, Stream.OTHER_TRAFFIC, row[slot], serial) * MINUTE_MS).astype(np.int64)
        depart = minutes[slot] * MINUTE_MS + within
        half = len(self.pair_from) // 2
        u = chance(self.seed, Stream.OTHER_DESTINATION, row[slot], serial)
        if self._pair_cum is None:
            pair = (u * half).astype(np.int64)
        else:
            pair = np.minimum(np.searchsorted(self._pair_cum, u * self._pair_cum[-1], side="right"), half - 1)
        back = chance(self.seed, Stream.OTHER_ORIGIN, row[slot], serial) >= outward[slot]
        pair += np.where(back, half, 0)
        keep = (depart >= t0_ms) & (depart < t1_ms)
        depart, pair = depart[keep], pair[keep]
        order = np.argsort(depart, kind="stable")
        return OtherTrips(depart[order], pair[order].astype(np.int32))

    # -- inside

    def _outward(self, day: int) -> NDArray[np.float64]:
        """Share of trips that lead away from home, by clock hour.

        One minus the part of the day's trips made before (the day beginning at 3 o'clock): all at first, none at
        last, half over the day, so that as many come home as have left.
        """
        share = np.roll(self._habits[self.calendar.kind(day)].start_share, -3)
        return np.roll(1.0 - (np.cumsum(share) - share / 2), 3)

    def _inside_m(self, city: CityMap) -> float:
        """Mean metres that a journey of the pool drives inside: the estimate, corrected by a sample of paths."""
        near, far = self.distances.between(self.pair_from, self.pair_to)
        some = np.arange(int(np.clip(WORK // city.network.n_nodes, 24, 300))) * 7919 % len(self.pair_from)
        start, row = np.unique(self.pair_from[some], return_inverse=True)
        real = fastest(city.network, start)[0][row, self.pair_to[some]] - far[some]
        known = np.isfinite(real) & (real > 0)
        ratio = float(real[known].sum() / near[some][known].sum()) if known.any() else 1.0
        return max(float(near.mean()) * ratio, 1.0)

    def _level(self, city: CityMap, fleet_cars: int) -> None:
        network = city.network
        streets = ~network.has(OUTSIDE)
        lane_m = np.where(streets, network.link_length * network.link_lanes, 0.0)
        normal = float((lane_m * lane_flow(city)).sum()) / self.mean_inside_m
        most = float(self._facts["mean_vehicles_per_lane_day_most"]) * float(lane_m.sum()) / self.mean_inside_m
        self.limited = normal > most
        self.normal_trips = min(normal, most)
        weekday, weekend = self._habits
        level = float(self.settings.other_traffic)
        moving = self.settings.moving
        own = [fleet_cars * h.trips * (h.moving if moving is None else moving) for h in self._habits]
        # a weekend day has fewer trips in proportion to cars that drive and trips they make
        ratio = weekend.moving * weekend.trips / (weekday.moving * weekday.trips)
        self.trips_per_weekday = max(0.0, level * self.normal_trips * self.sample - own[WEEKDAY]) if level > 0 else 0.0
        self.trips_per_weekend_day = (
            max(0.0, level * self.normal_trips * ratio * self.sample - own[WEEKEND]) if level > 0 else 0.0
        )

    def _pool(self, city: CityMap, size: int) -> None:
        """Draw the journeys: home end first."""
        homes, activities = _ends(city, home=True), _ends(city, home=False)
        gates = _first_rings(city)
        row = np.arange(size)
        shares = self._cordon() if len(gates[0]) else np.array([1.0, 0.0, 0.0, 0.0])
        if len(gates[0]) < 2:
            shares[THROUGH] = 0.0
        kind = np.searchsorted(
            np.cumsum(shares / shares.sum()), chance(self.seed, Stream.OTHER_ORIGIN, row, 0), "right"
        )
        kind = np.minimum(kind, OUTBOUND)
        home = np.where(np.isin(kind, (THROUGH, INBOUND)), self._pick(gates, row, 1), self._pick(homes, row, 2))
        there = np.where(np.isin(kind, (THROUGH, OUTBOUND)), self._pick(gates, row, 3), self._pick(activities, row, 4))
        home, there = self._by_distance(home, there, kind, (homes, activities), row)
        for again in range(5, 45):  # journeys that lead nowhere, or back through the gate they came from
            same = (home == there) | ((kind == THROUGH) & (self._gap(home, there) < 0.2 * self.across_m))
            if not same.any():
                break
            there = np.where(same & np.isin(kind, (THROUGH, OUTBOUND)), self._pick(gates, row, again), there)
            there = np.where(same & np.isin(kind, (INSIDE, INBOUND)), self._pick(activities, row, again), there)
        good = home != there
        if not good.any():
            raise DemandError("other traffic: the map has no two nodes to travel between")
        keep = np.flatnonzero(good)[row % int(good.sum())]  # the few that found nothing repeat others
        home, there, kind = home[keep], there[keep], kind[keep]
        self.pair_from = np.concatenate([home, there]).astype(np.int32)
        self.pair_to = np.concatenate([there, home]).astype(np.int32)
        self.pair_kind = np.concatenate([kind, kind]).astype(np.uint8)

    def _by_distance(
        self,
        home: NDArray[np.int64],
        there: NDArray[np.int64],
        kind: NDArray[np.int64],
        ends: tuple[tuple[NDArray[np.int64], NDArray[np.float64]], tuple[NDArray[np.int64], NDArray[np.float64]]],
        row: NDArray[np.int64],
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of some places drawn by weight take the one at the distance the journey should have inside.

        Journeys inside are lognormal about the market's mean and shorter than the extract is wide; of those that cross
        the edge a uniform part lies inside.
        """
        mean_m, sigma = self._journey()
        across = float(self.distances.road(np.array([self.across_m]))[0])
        middle = np.log(mean_m) - sigma**2 / 2
        u = chance(self.seed, Stream.DISTANCE, row, 5)
        fits = np.where(kind == INSIDE, float(ndtr((np.log(across) - middle) / sigma)), 1.0)
        length = np.exp(middle + sigma * ndtri(np.clip(u * fits, 1e-9, 1 - 1e-9)))
        part = chance(self.seed, Stream.DISTANCE, row, 6)
        want = np.where(kind == INSIDE, length, part * np.minimum(length, across))
        miss = np.full(len(row), np.inf)
        anchor = np.where(kind == OUTBOUND, there, home)
        best = np.where(kind == OUTBOUND, home, there)
        for turn in range(CANDIDATES):
            tried = np.where(
                kind == OUTBOUND, self._pick(ends[0], row, 100 + turn), self._pick(ends[1], row, 200 + turn)
            )
            off = np.abs(self.distances.between(anchor, tried)[0] - want)
            better = (off < miss) & (tried != anchor) & (kind != THROUGH)
            best, miss = np.where(better, tried, best), np.where(better, off, miss)
        return np.where(kind == OUTBOUND, best, home), np.where(kind == OUTBOUND, there, best)

    def _journey(self) -> tuple[float, float]:
        """Mean metres of a journey, and the log standard deviation."""
        day = self._habits[WEEKDAY]
        return 1000 * day.day_km / day.trips, day.trip_sigma

    def _cordon(self) -> NDArray[np.float64]:
        """Shares of the four kinds of journeys.

        A stretch of length D of a long line with journeys of length L everywhere: D - L per unit of
        density stay inside, min(L, D) come in and as many go out, L - D pass through. L is lognormal with the
        market's mean journey; through traffic is held to a share (days.toml).
        """
        mean_m, sigma = self._journey()
        z = np.linspace(-3, 3, 241)
        weight = np.exp(-(z**2) / 2)
        length = mean_m * np.exp(sigma * z - sigma**2 / 2)
        across = float(self.distances.road(np.array([self.across_m]))[0])
        inside = float(np.average(np.maximum(across - length, 0), weights=weight))
        crossing = float(np.average(np.minimum(across, length), weights=weight))
        through = float(np.average(np.maximum(length - across, 0), weights=weight))
        most = float(self._facts["through_share_most"])
        through = min(through, most / (1 - most) * (inside + 2 * crossing))
        return np.array([inside, through, crossing, crossing])

    def _gap(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.float64]:
        x, y = self.distances.x, self.distances.y
        return np.hypot(x[a] - x[b], y[a] - y[b])

    def _pick(
        self, ends: tuple[NDArray[np.int64], NDArray[np.float64]], row: NDArray[np.int64], part: int
    ) -> NDArray[np.int64]:
        nodes, cum = ends
        if not len(nodes):
            return np.full(len(row), -1, np.int64)
        u = chance(self.seed, Stream.OTHER_DESTINATION, row, part) * cum[-1]
        picked = np.minimum(np.searchsorted(cum, u, "right"), len(nodes) - 1)
        return np.asarray(nodes[picked], np.int64)


def poisson(u: NDArray[np.float64], mean: NDArray[np.float64]) -> NDArray[np.int64]:
    """Poisson numbers by inversion: the smallest k whose cumulative probability exceeds `u`.

    Examples
    --------
    >>> poisson(np.array([0.0, 0.5, 0.5]), np.array([3.0, 3.0, 0.0])).tolist()
    [0, 3, 0]
    """
    some = mean > 0
    k = np.zeros(len(mean))
    k[some] = np.maximum(np.ceil(pdtrik(u[some], mean[some])), 0.0)
    below = np.maximum(k - 1, 0)
    k = np.where(some & (k > 0) & (pdtr(below, mean) > u), below, k)  # the inverse may round up
    return k.astype(np.int64)


def _across(city: CityMap) -> float:
    """Side of a square of the extract's size, m; approach roads do not count."""
    streets = np.unique(city.network.link_from[~city.network.has(OUTSIDE)])
    x, y = city.network.node_x[streets], city.network.node_y[streets]
    return max(1.0, float(np.sqrt(max(np.ptp(x), 1.0) * max(np.ptp(y), 1.0))))


def _ends(city: CityMap, *, home: bool) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Nodes and cumulative weights of homes, or of everything else; all streets where the map has none."""
    rows = np.flatnonzero((city.place_kind == 0) == home)
    weight = city.place_weight[rows].astype(np.float64)
    if weight.sum() > 0:
        if not home:  # each kind draws alike, whatever its floor area is counted in
            kind = city.place_kind[rows]
            weight = weight / np.maximum(np.bincount(kind, weight, 5)[kind], 1e-9)
        return city.place_node[rows].astype(np.int64), np.cumsum(weight)
    nodes = np.unique(city.network.link_from[~city.network.has(OUTSIDE)]).astype(np.int64)
    return nodes, np.cumsum(np.ones(len(nodes)))


def _first_rings(city: CityMap) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Nearest outside node of each gate and cumulative flow: farther out the other cars are not followed."""
    order = np.lexsort((city.outside_km, city.outside_gate))
    gate, first = np.unique(city.outside_gate[order], return_index=True)
    return city.outside_node[order][first].astype(np.int64), np.cumsum(gate_flow(city)[gate])
