"""Demand that a user brings: trips of the fleet's cars, and trips and flows of everybody else.

`runs.demand` reads the files; here they are arrays on a map. Everything is a function of
(seed, flow, date), and what could not be placed stays in the books: `Given.unplaced`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from maps.network import PLACE_KINDS, CityMap
from twin.chance import Stream, chance
from twin.demand.calendar import DAY_MS, Calendar
from twin.demand.days import PURPOSES, DayPlan
from twin.demand.distance import Distances, calibrate
from twin.demand.market import WEEKDAY, WEEKEND, DemandError, habits
from twin.demand.other_traffic import OtherTrips
from twin.events import Column, Table
from twin.fleet.fleet import Fleet
from twin.settings import DemandSettings

UNPLACED = {
    "source": Column("str", "", "file, as the scenario names it"),
    "row": Column("i8", "", "row of the file: a trip, or a cell of a matrix; the first is 1"),
    "trip": Column("str", "", "the trip's own name, or the two zones of a matrix cell"),
    "car": Column("str", "", "the car's own name; empty for traffic outside the fleet"),
    "trips": Column("f8", "", "trips that are left out"),
    "reason": Column("str", "", "why"),
}

REASONS = {
    "off_map": "its start or end lies farther from any street of the map than demand.snap_m",
    "unknown_node": "no node of the map has this OpenStreetMap id",
    "unknown_zone": "the zones file has no zone of this name",
    "zone_off_map": "the zone holds no street of the map",
    "unknown_edge": "neither the SUMO network nor the map has this edge",
    "no_place": "its start or end is not given",
    "no_departure": "its time of departure is not given",
    "same_place": "it starts and ends at the same node",
    "same_zone": "flows inside a zone that has a single node",
    "before_start": "it departs before the scenario starts",
    "not_a_car": "a bus, lorry, train, bicycle or pedestrian",
    "car_elsewhere": "the car is not where this trip starts",
}
"""Why a trip could not be placed; `unplaced.parquet` uses these words."""


class ListedTrips(NamedTuple):
    """Trips on the map, any order; departures in ms since the scenario's start.

    `car` is the row of the fleet, -1 for everybody else; `row`, `trip` and `name` say where a trip is from.
    """

    car: NDArray[np.int32]
    depart_ms: NDArray[np.int64]
    from_node: NDArray[np.int32]
    to_node: NDArray[np.int32]
    purpose: NDArray[np.uint8]
    row: NDArray[np.int64]
    trip: NDArray[np.object_]
    name: NDArray[np.object_]

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> ListedTrips:
        """The trips at `rows`."""
        return ListedTrips._make(column[rows] for column in self)

    def and_then(self, more: ListedTrips) -> ListedTrips:
        """These trips, then more."""
        both: Iterator[tuple[Any, Any]] = zip(self, more, strict=True)
        return ListedTrips._make(np.concatenate(pair) for pair in both)


class Flows(NamedTuple):
    """Trips a day between pairs of nodes.

    Attributes
    ----------
    trips : float64 (n,)
        Expected trips of a flow on one day.
    hour : int64 (n,)
        Clock hour in which they start, -1 for the market's hours.
    ptr : int64 (n + 1,)
        Flow i uses the node pairs `from_node[ptr[i]:ptr[i+1]]`, all alike.
    from_node, to_node : int32
    """

    trips: NDArray[np.float64]
    hour: NDArray[np.int64]
    ptr: NDArray[np.int64]
    from_node: NDArray[np.int32]
    to_node: NDArray[np.int32]


def no_flows() -> Flows:
    """No flow at all."""
    none = np.zeros(0, np.int32)
    return Flows(np.zeros(0), np.zeros(0, np.int64), np.zeros(1, np.int64), none, none)


@dataclass(eq=False)
class Given:
    """What the files of a scenario hold, placed on the map.

    Attributes
    ----------
    fleet, others : ListedTrips
    earlier : ListedTrips
        Trips of the fleet before the start: not driven, but they say where cars live and stand. Counted as unplaced.
    refused, refused_why : ListedTrips, object array
        Trips of the fleet that could not be placed, and why; nodes are -1 where unknown.
    flows : Flows
    source : str
        File of the list of trips.
    names : list of str
        The cars' own names by row of the fleet; empty when the fleet has no given days.
    read, ignored : int
        Trips in the list; legs by other modes than the car.
    unplaced : Table
        What could not be placed, one row per trip or matrix cell; `unplaced_listed` of them are trips.
    notes : list of str
        What was left out, in words for the log.
    """

    fleet: ListedTrips
    others: ListedTrips
    earlier: ListedTrips
    refused: ListedTrips
    refused_why: NDArray[np.object_]
    flows: Flows
    source: str
    names: list[str]
    read: int
    ignored: int
    unplaced: Table
    unplaced_listed: int
    notes: list[str] = field(default_factory=list)

    @property
    def has_days(self) -> bool:
        """Whether the fleet's days are given."""
        return bool(self.names)

    @property
    def has_traffic(self) -> bool:
        """Whether traffic outside the fleet is given."""
        return len(self.others.car) > 0 or len(self.flows.trips) > 0

    def settle(self, city: CityMap, fleet: Fleet) -> None:
        """Let cars live where their first trip starts and work where their first trip to work ends."""
        trips = self.earlier.and_then(self.fleet)
        order = np.lexsort((trips.depart_ms, trips.car))
        car, first = np.unique(trips.car[order], return_index=True)
        fleet.home_node[car] = trips.from_node[order][first]
        fleet.home_place[car] = _nearest(city, "home", fleet.home_node[car])
        fleet.work_node[car] = fleet.work_place[car] = -1
        to_work = order[trips.purpose[order] == PURPOSES.index("work")]
        car, first = np.unique(trips.car[to_work], return_index=True)
        fleet.work_node[car] = trips.to_node[to_work][first]
        fleet.work_place[car] = _nearest(city, "work", fleet.work_node[car])
        fleet.node[:] = fleet.home_node

    def summary(self) -> dict[str, object]:
        """Counts for `summary.json`; `placed` and `unplaced` add up to `read`."""
        reason = self.unplaced["reason"]
        names, counts = np.unique(np.asarray(reason, str), return_counts=True)
        trips = np.asarray(self.unplaced["trips"], float)
        return {
            "source": self.source,
            "read": self.read,
            "placed": len(self.fleet.car) + len(self.others.car),
            "placed_of_fleet": len(self.fleet.car),
            "unplaced": self.unplaced_listed,
            "unplaced_by_reason": {str(n): int(c) for n, c in zip(names, counts, strict=True)},
            "legs_by_other_modes": self.ignored,
            "cars_named": len(self.names),
            "flows": len(self.flows.trips),
            "flow_trips_per_day": float(self.flows.trips.sum()),
            "flow_trips_unplaced_per_day": float(trips.sum()) - self.unplaced_listed,
        }

    def residual(self) -> int:
        """Trips of the list that are neither placed nor counted as left out: 0."""
        return self.read - len(self.fleet.car) - len(self.others.car) - self.unplaced_listed


def _nearest(city: CityMap, kind: str, node: NDArray[np.int32]) -> NDArray[np.int32]:
    """Nearest place of a kind, -1 where the map has none; for feeders and workplaces' sockets."""
    rows = np.flatnonzero(city.place_kind == PLACE_KINDS.index(kind))
    if not len(rows) or not len(node):
        return np.full(len(node), -1, np.int32)
    tree = cKDTree(np.column_stack([city.place_x[rows], city.place_y[rows]]))
    _, at = tree.query(np.column_stack([city.network.node_x[node], city.network.node_y[node]]))
    return np.asarray(rows[at], np.int32)


class GivenDays:
    """Days of the fleet as a list of trips says; the counterpart of `twin.demand.days.Demand`.

    Parameters
    ----------
    city : CityMap
    given : Given
    demand : DemandSettings
        With `repeat_day`, the trips of the first day are driven every day.
    cars : int
        Size of the fleet; cars that the list does not name stay at home.
    start : datetime or None
        Civil time at which the scenario starts.
    seed : int
        Picks the sample on which road distances are measured.
    """

    def __init__(
        self,
        city: CityMap,
        given: Given,
        demand: DemandSettings,
        fleet: Fleet,
        *,
        start: datetime | None,
        seed: int,
    ) -> None:
        self.settings = demand
        self.calendar = Calendar(start, demand.weekday)
        order = np.lexsort((given.fleet.depart_ms, given.fleet.car))
        self._trips = given.fleet.take(order)
        self._at_start: NDArray[np.int32] = fleet.home_node.astype(np.int32)
        before = given.earlier.take(np.argsort(given.earlier.depart_ms, kind="stable"))
        self._at_start[before.car] = before.to_node  # the last one stays
        self.distances: Distances = calibrate(city, self._at_start, self._trips.to_node, seed=seed)

    def midnight_ms(self, day: int) -> int:
        """Time of the midnight that begins a day, ms since the start; day 0 is the date of the start."""
        return self.calendar.midnight_ms(day)

    def plan_day(self, day: int) -> DayPlan:
        """Trips that depart on a day at or after the start of the scenario; day 0 is the date of the start."""
        if day < 0:
            raise DemandError(f"day {day} is before the scenario; valid are 0 and later")
        trips, shift = self._trips, 0
        if self.settings.repeat_day and day > 0:
            shift, day = day * DAY_MS, 0
        low, high = self.calendar.midnight_ms(day), self.calendar.midnight_ms(day + 1)
        some = np.flatnonzero((trips.depart_ms >= low) & (trips.depart_ms < high))
        return self._plan(trips.take(some), shift)

    def usual_day(self, day: int) -> DayPlan:
        """A day like those of the list, whatever the date: what the week before the run is made of."""
        trips = self._trips
        days = max(1, 1 + int(self.calendar.day_of(int(trips.depart_ms.max())))) if len(trips.car) else 1
        low, high = self.calendar.midnight_ms(day % days), self.calendar.midnight_ms(day % days + 1)
        some = np.flatnonzero((trips.depart_ms >= low) & (trips.depart_ms < high))
        return self._plan(trips.take(some), (day - day % days) * DAY_MS)

    def nodes_at_start(self) -> NDArray[np.int32]:
        """Node of each car when the scenario starts, shape (cars,): where earlier trips have left it, or home."""
        return self._at_start.copy()

    def _plan(self, trips: ListedTrips, shift: int) -> DayPlan:
        inside, beyond = self.distances.between(trips.from_node, trips.to_node)
        km = ((inside + beyond) / 1000).astype(np.float32)
        depart = trips.depart_ms + shift
        last = np.append(trips.car[1:] != trips.car[:-1], True)[: len(trips.car)]
        travel = np.rint((inside / self.distances.inside_mps + beyond / self.distances.outside_mps) * 1000).astype(
            np.int64
        )
        stay = np.append(depart[1:], 0)[: len(depart)] - depart - travel
        return DayPlan(
            car=trips.car,
            depart_ms=depart,
            from_node=trips.from_node,
            to_node=trips.to_node,
            purpose=trips.purpose,
            stay_ms=np.where(last, -1, np.maximum(stay, 0)),
            travel_ms=travel,
            km=km,
            wanted_km=np.full(len(km), np.nan, np.float32),
        )


class GivenTraffic:
    """Traffic outside the fleet as lists and matrices say; the counterpart of `OtherTraffic`.

    Of a flow with 2.3 expected trips a day two or three are driven, three on 30 % of days; they start at moments drawn
    from the flow's hour, or from the market's hours. Listed trips start when the list says. `demand.other_traffic`
    multiplies flows, not lists.

    Attributes
    ----------
    pair_from, pair_to : int32
        Node pairs; `trips` refers to them.
    """

    def __init__(self, given: Given, demand: DemandSettings, *, market: str, seed: int, start: datetime | None) -> None:
        self.seed = seed
        self.settings = demand
        self.calendar = Calendar(start, demand.weekday)
        self._hours = (habits(market).start_share, habits(market, day_kind=WEEKEND).start_share)
        order = np.argsort(given.others.depart_ms, kind="stable")
        self._listed = given.others.take(order)
        self.flows = given.flows
        both = np.column_stack(
            [
                np.concatenate([self._listed.from_node, self.flows.from_node]),
                np.concatenate([self._listed.to_node, self.flows.to_node]),
            ]
        ).astype(np.int64)
        pairs, row = np.unique(both, axis=0, return_inverse=True)
        row = row.ravel()
        self.pair_from, self.pair_to = pairs[:, 0].astype(np.int32), pairs[:, 1].astype(np.int32)
        self._listed_pair = row[: len(self._listed.car)].astype(np.int32)
        self._flow_pair = row[len(self._listed.car) :].astype(np.int32)
        self._day: tuple[int, OtherTrips] | None = None
        self._flow_factor = np.ones(len(self.flows.trips))
        self._hour_factor = np.ones(24)

    def trips(self, t0_ms: int, t1_ms: int) -> OtherTrips:
        """Departures in [t0, t1), ms since the start; cutting the window anywhere gives the same trips."""
        if t1_ms <= t0_ms:
            return OtherTrips(np.zeros(0, np.int64), np.zeros(0, np.int32))
        parts = []
        for day in range(self.calendar.day_of(t0_ms), self.calendar.day_of(t1_ms - 1) + 1):
            found = self._on(day)
            a, b = np.searchsorted(found.depart_ms, [t0_ms, t1_ms])
            parts.append((found.depart_ms[a:b], found.pair[a:b]))
        return OtherTrips(np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts]))

    def expected(self, day: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Expected trips (pairs, 24) by pair and clock hour, and the group of each pair: its flow.

        Listed trips are a group of their own, for which no factor is used. A pair that several flows share counts
        with the first of them.
        """
        size, flows = len(self.pair_from), self.flows
        base, group = np.zeros((size, 24)), np.full(size, len(flows.trips), np.int64)
        width = np.diff(flows.ptr)
        flow = np.repeat(np.arange(len(width)), width)
        trips = (flows.trips * self.settings.other_traffic / np.maximum(width, 1))[flow]
        np.add.at(base, self._flow_pair, trips[:, None] * self._profile(day)[flow])
        group[self._flow_pair[::-1]] = flow[::-1]
        return base, group

    def adjust(self, journey: NDArray[np.float64], hour: NDArray[np.float64]) -> None:
        """Multiply flows and clock hours (see `twin.demand.counts`)."""
        self._flow_factor = journey[: len(self.flows.trips)]
        self._hour_factor = hour
        self._day = None

    def _profile(self, day: int) -> NDArray[np.float64]:
        """Share of a flow's trips that start in each clock hour, times the hours' factors, shape (flows, 24)."""
        kind = WEEKDAY if self.calendar.kind(day) == WEEKDAY else WEEKEND
        own = np.eye(24)[np.maximum(self.flows.hour, 0)]
        share = np.where(self.flows.hour[:, None] < 0, self._hours[kind], own)
        return np.asarray(share * self._hour_factor)

    def _on(self, day: int) -> OtherTrips:
        """All departures of a day, in time order; the last day asked for is kept."""
        if self._day is None or self._day[0] != day:
            a, b = self._listed_on(day), self._flowing_on(day)
            depart, pair = np.concatenate([a.depart_ms, b.depart_ms]), np.concatenate([a.pair, b.pair])
            order = np.argsort(depart, kind="stable")
            self._day = day, OtherTrips(depart[order], pair[order])
        return self._day[1]

    def _listed_on(self, day: int) -> OtherTrips:
        shift = 0
        if self.settings.repeat_day and day > 0:
            shift, day = day * DAY_MS, 0
        at = self._listed.depart_ms
        a, b = np.searchsorted(at, [self.calendar.midnight_ms(day), self.calendar.midnight_ms(day + 1)])
        return OtherTrips(at[a:b] + shift, self._listed_pair[a:b])

    def _flowing_on(self, day: int) -> OtherTrips:
        flows, number = self.flows, self.calendar.number(day)
        size = len(flows.trips)
        if not size:
            return OtherTrips(np.zeros(0, np.int64), np.zeros(0, np.int32))
        profile = self._profile(day)
        wanted = flows.trips * self.settings.other_traffic * self._flow_factor * profile.sum(axis=1)
        many = np.floor(wanted + chance(self.seed, Stream.OTHER_TRAFFIC, np.arange(size), number)).astype(np.int64)
        flow = np.repeat(np.arange(size), many)
        first = np.cumsum(many) - many
        serial = np.arange(len(flow)) - np.repeat(first, many)
        tick = number * MOST_TRIPS + serial
        # the trips of a flow are spread evenly over its hours, which so hold even for few trips
        within = chance(self.seed, Stream.OTHER_DESTINATION, flow, tick)
        start = chance(self.seed, Stream.OTHER_ORIGIN, np.arange(size), number)
        spread = (serial + start[flow]) / many[flow] % 1.0
        cum = np.cumsum(self._hours[WEEKDAY if self.calendar.kind(day) == WEEKDAY else WEEKEND] * self._hour_factor)
        drawn = np.minimum(np.searchsorted(cum, spread * cum[-1], side="right"), 23)
        hour = np.where(flows.hour[flow] < 0, drawn, flows.hour[flow])
        depart = self.calendar.midnight_ms(day) + ((hour + within) * 3_600_000).astype(np.int64)
        turn = chance(self.seed, Stream.OTHER_ORIGIN, flow, tick + 1)
        width = np.diff(flows.ptr)
        pair = self._flow_pair[flows.ptr[flow] + np.minimum((turn * width[flow]).astype(np.int64), width[flow] - 1)]
        order = np.argsort(depart, kind="stable")
        return OtherTrips(depart[order], pair[order].astype(np.int32))


MOST_TRIPS = 1 << 24
"""Trips of one flow and day that draws can tell apart."""
