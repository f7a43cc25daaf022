"""The streets: vehicles on links, signals, queues. Python names and checks; the kernel moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from maps.network import RoadNetwork
from twin.settings import TrafficSettings
from twin.traffic import calendar_kernels as calendar
from twin.traffic import kernels as k
from twin.traffic import records
from twin.traffic.right_of_way import RightOfWay, right_of_way
from twin.traffic.ruler import Ruler
from twin.traffic.signals import SignalError, SignalPlan, signal_plan
from twin.traffic.slot_kernels import CAR, REST
from twin.traffic.snapshot_kernels import snapshot
from twin.traffic.traversals import Traversals

# times are 32-bit milliseconds from the start: 24 days, and what one link can add to that
HORIZON_MS = 24 * 86_400_000
LONGEST_MS = 20 * 3_600_000
MOST = 32  # times what a car has, of gap, pace and size
MOST_ON_LINK = 65_535  # what a link's record counts to; as many stand on 80 km of six lanes


class TrafficError(ValueError):
    """A route or departure that the streets cannot take."""


class Arrivals(NamedTuple):
    """Vehicles that ended their route in a tick, in order of time."""

    vehicle: NDArray[np.int32]
    at_ms: NDArray[np.int64]


class Positions(NamedTuple):
    """Where vehicles are at one moment; arrays of one length."""

    vehicle: NDArray[np.int32]
    link: NDArray[np.int32]
    x: NDArray[np.float32]
    y: NDArray[np.float32]


@dataclass(frozen=True)
class LinkPhysics:
    """What a link can do, per link: derived from the network and the fundamental diagram.

    Attributes
    ----------
    free_ms : free-flow time, ms
    headway_us : time between two vehicles at saturation over all lanes, microseconds
    storage : vehicles the link holds when standing, a fraction, at least 1
    wave_ms : time a hole needs to travel from the end to the start, ms
    """

    free_ms: NDArray[np.int64]
    headway_us: NDArray[np.int64]
    storage: NDArray[np.float64]
    wave_ms: NDArray[np.int64]

    @classmethod
    def of(
        cls, network: RoadNetwork, settings: TrafficSettings, *, saturation_lanes: NDArray[np.float64] | None = None
    ) -> LinkPhysics:
        """Triangular fundamental diagram with jam spacing `spacing_m` and time gap `tau_s`.

        `saturation_lanes`, above 0, is how many lanes' worth of flow a link's end lets through, where
        that is not its lanes (lanes that turns share).
        """
        length, speed, lanes = network.link_length, network.link_speed, network.link_lanes.astype(float)
        # one row of a sample takes the room and the capacity of all the vehicles it stands for
        per_row = 1 / settings.sample
        flowing = lanes if saturation_lanes is None else np.asarray(saturation_lanes, float)
        if flowing.shape != lanes.shape or not np.all(flowing > 0):
            raise TrafficError(f"saturation lanes need one number above 0 for each of {len(lanes)} links")
        return cls(
            free_ms=np.maximum(1, np.rint(length / speed * 1000)).astype(np.int64),
            headway_us=np.rint((settings.tau_s + settings.spacing_m / speed) / flowing * per_row * 1e6).astype(
                np.int64
            ),
            storage=np.maximum(1.0, length * lanes / (settings.spacing_m * per_row)),
            wave_ms=np.maximum(1, np.rint(length * settings.tau_s / settings.spacing_m * 1000)).astype(np.int64),
        )


class Streets:
    """All vehicles on all links, moved exactly from event to event.

    Vehicle rows below `fleet_size` are the fleet's cars (same row numbers); rows above
    are other traffic, handed out and taken back as trips begin and end.

    Parameters
    ----------
    network : RoadNetwork
    settings : TrafficSettings
    fleet_size : int
        Rows kept for fleet cars.
    signals : SignalPlan, optional
        Green windows where they are known, such as those of `maps.sumo`; `signal_plan` when left out.
    priority : RightOfWay, optional
        Who gives way to whom where that is known; by `settings.junctions` when left out.
    saturation_lanes : float64, shape (n_links,), optional
        See `LinkPhysics.of`; the links' lanes when left out.

    Raises
    ------
    TrafficError
        For a network too large, or green windows or rights of way that do not fit it.
    """

    def __init__(
        self,
        network: RoadNetwork,
        settings: TrafficSettings,
        fleet_size: int,
        *,
        signals: SignalPlan | None = None,
        priority: RightOfWay | None = None,
        saturation_lanes: NDArray[np.float64] | None = None,
    ) -> None:
        self.network = network
        self.settings = settings
        self.fleet_size = fleet_size
        self.physics = physics = LinkPhysics.of(network, settings, saturation_lanes=saturation_lanes)
        n = network.n_links
        if 3 * n >= 1 << 26:
            raise TrafficError(f"{n} links are more than the event keys hold (22 million)")
        whole = np.floor(physics.storage + 1e-9).astype(np.int64)
        ends = np.cumsum(whole)
        self._slowest_ms = int(physics.free_ms.max())
        if ends[-1] >= 1 << 31 or max(physics.free_ms.max(), physics.wave_ms.max()) > LONGEST_MS:
            raise TrafficError("the streets hold more than 2 billion cars, or a link takes more than 20 hours")
        if whole.max() > MOST_ON_LINK:
            raise TrafficError(f"link {whole.argmax()} holds {whole.max()} cars, the engine at most {MOST_ON_LINK}")
        self._links = links = on_cache_lines(n, records.LINK)
        links["free_ms"] = physics.free_ms
        links["headway_us"] = physics.headway_us
        links["storage"] = links["holes"] = whole
        links["wave_ms"] = physics.wave_ms
        links["slots"] = ends - whole
        plan = signal_plan(network, settings) if signals is None else signals
        rule = right_of_way(network, settings) if priority is None else priority
        try:
            self._ends, control = plan.write(n, metered=settings.signals == "share")
            self._foes = rule.write(self._ends, control, physics.headway_us * network.link_lanes)
            turn = rule.turn_cost(physics.headway_us)
        except SignalError as error:
            raise TrafficError(str(error)) from None
        links["control"] = control | (np.clip(np.rint((physics.storage - whole) * 1000), 0, 999).astype(int) << REST)
        links["next_in_us"] = links["next_out_us"] = calendar.LONG_AGO * 1000
        links["first_waiter"] = calendar.NOBODY
        self._merges = np.zeros(n, records.MERGE)
        for name in ("ring_seen_ms", "ring_seen_out", "source_first", "source_last"):
            self._merges[name] = calendar.NOBODY
        self._waiting = np.zeros(2 * n, records.WAITER)
        for name in ("next", "target", "last"):
            self._waiting[name] = calendar.NOBODY
        # an upstream link's turn costs what its capacity costs, so merges share by it; a source counts as a lane
        self._waiting["weight"] = np.concatenate([turn, physics.headway_us * network.link_lanes])
        self._slots = on_cache_lines(int(ends[-1]), records.SLOT)
        self._slots["vehicle"] = -2 - CAR
        self._slots["ms"] = calendar.LONG_AGO
        self._near = np.full(calendar.NEAR_MS, calendar.NOBODY, np.int32)
        self._due = np.zeros(calendar.NEAR_MS // 64, np.uint64)
        self._queue = np.full(2 * n, calendar.IDLE, np.int32)
        self._far = np.zeros(3 * n + 1024, np.int64)
        self._clock = np.zeros(calendar.CLOCK_SIZE, np.int64)
        self._vehicles = idle_vehicles(fleet_size + 1024)
        self._busy = np.zeros(len(self._vehicles), bool)
        self._spare = list(range(len(self._vehicles) - 1, fleet_size - 1, -1))
        self._route = np.zeros(1 << 16, np.int32)
        self._route_end = 0
        self._departing = np.empty(0, np.int64)
        self._departing_later: list[NDArray[np.int64]] = []
        self._arrived = np.zeros(4096, np.int32)
        self._arrived_ms = np.zeros(4096, np.int64)
        self._until_ms = 0

    # ------------------------------------------------------------------ figures

    @property
    def rows(self) -> int:
        """Vehicle rows so far; grows with other traffic."""
        return len(self._vehicles)

    @property
    def on_road(self) -> int:
        """Vehicles on links now."""
        return int(self._clock[calendar.ON_ROAD])

    @property
    def in_source(self) -> int:
        """Vehicles that wait to enter the streets."""
        return int(self._clock[calendar.IN_SOURCE])

    @property
    def moves(self) -> int:
        """Link traversals completed so far."""
        return int(self._clock[calendar.MOVED])

    @property
    def rings_turned(self) -> tuple[int, int]:
        """Gridlocked rings resolved by turning, and vehicles moved by it."""
        return int(self._clock[calendar.RINGS_TURNED]), int(self._clock[calendar.RING_VEHICLES])

    @property
    def link_ring_turns(self) -> NDArray[np.int64]:
        """How often each link was part of a gridlocked ring that was turned, shape (links,)."""
        return np.asarray(self._merges["ring_turns"], np.int64)

    @property
    def link_sums(self) -> NDArray[np.int64]:
        """Completed traversals of each link so far and their time in ms, shape (links, 2)."""
        return np.stack([self._links["count_out"].astype(np.int64), self._links["spent_ms"]], axis=1)

    @property
    def link_vehicles(self) -> NDArray[np.int64]:
        """Vehicles on each link now."""
        return np.asarray(self._links["count_in"] - self._links["count_out"], np.int64)

    def first_ms(self, vehicles: ArrayLike) -> NDArray[np.int64]:
        """When vehicles left the source queue and entered their first link."""
        return np.asarray(np.maximum(self._vehicles["first_ms"][np.asarray(vehicles)], -1), np.int64)

    def has_trip(self, vehicles: ArrayLike) -> NDArray[np.bool_]:
        """Whether vehicles are on the road or wait to enter it."""
        return np.asarray(self._busy[np.asarray(vehicles)])

    def departed(self, vehicles: ArrayLike, now_ms: int) -> NDArray[np.bool_]:
        """Whether vehicles are on the road or wait at its side to enter."""
        rows = np.asarray(vehicles)
        return np.asarray(self._busy[rows] & (self._vehicles["depart_ms"][rows] < now_ms))

    def entered(self, vehicles: ArrayLike) -> NDArray[np.bool_]:
        """Whether vehicles of a running trip have entered the streets."""
        rows = self._vehicles[np.asarray(vehicles)]
        return np.asarray(rows["first_ms"] >= rows["depart_ms"])

    def current_link(self, vehicles: ArrayLike) -> NDArray[np.int32]:
        """Link that each vehicle of a running trip is on (or waits to enter)."""
        return np.asarray(self._route[self._vehicles["position"][np.asarray(vehicles)]])

    # ------------------------------------------------------------------ input

    def depart(
        self,
        vehicles: ArrayLike,
        at_ms: ArrayLike,
        route_ptr: NDArray[np.int64],
        route_links: NDArray[np.int32],
        *,
        gap: ArrayLike = 1.0,
        pace: ArrayLike = 1.0,
        size: ArrayLike = 1.0,
    ) -> None:
        """Let vehicles start on their routes at `at_ms`.

        Parameters
        ----------
        vehicles : array of int, shape (n,)
            Idle vehicle rows.
        at_ms : array of int, shape (n,)
            Departure, ms; not before the current tick.
        route_ptr, route_links : shape (n + 1,), (route_ptr[-1],)
            Route of vehicle i is `route_links[route_ptr[i]:route_ptr[i+1]]`, at least one link.
        gap, pace : float or array
            Following headway and free travel time relative to the link's own.
        size : float or array
            Place it takes in a queue relative to `traffic.spacing_m`, from 1 to 32. One that is longer than a
            link has the link to itself.

        Raises
        ------
        TrafficError
            For a busy vehicle, an empty route, a route with a gap or of links that are not there, or a
            departure before the time that the streets have reached.
        """
        rows = np.asarray(vehicles, np.int64)
        if not len(rows):
            return
        self._check_routes(rows, route_ptr, route_links)
        if np.any(self._busy[rows]) or len(np.unique(rows)) != len(rows):
            raise TrafficError("a vehicle departs that is still on the road")
        gap_permille, pace_permille = _permille("gap", gap), _permille("pace", pace)
        size_permille = _permille("size", size, least=1)
        if np.min(at_ms) < self._until_ms:
            late = int(np.argmin(np.broadcast_to(at_ms, rows.shape)))
            raise TrafficError(
                f"vehicle {rows[late]} departs before {self._until_ms} ms, where the streets are already"
            )
        if np.max(at_ms) >= HORIZON_MS:
            raise TrafficError("a departure is beyond the 24 days that the streets' times hold")
        if self._slowest_ms * np.max(pace_permille) // 1000 > LONGEST_MS:
            raise TrafficError("at its pace a vehicle would take more than 20 hours for one link")
        start = self._reserve(len(route_links))
        self._route[start : start + len(route_links)] = route_links
        record = self._vehicles
        record["position"][rows] = start + route_ptr[:-1]
        record["end"][rows] = start + route_ptr[1:]
        record["depart_ms"][rows] = at_ms
        record["first_ms"][rows] = -1
        record["gap_permille"][rows] = gap_permille
        record["pace_permille"][rows] = pace_permille
        record["size_permille"][rows] = size_permille
        self._busy[rows] = True
        self._departing_later.append(rows)

    def follow(self, vehicles: ArrayLike, *, gap: ArrayLike, pace: ArrayLike) -> None:
        """Change headway and free travel time of vehicles from the next link on, relative to the link's own.

        Parameters
        ----------
        vehicles : array of int, shape (n,)
        gap, pace : float or array
            As in `depart`, which sets them anew.

        Raises
        ------
        TrafficError
            For a value that is not from 0 to 32.
        """
        rows = np.asarray(vehicles, np.int64)
        if not len(rows):
            return
        for name, value in (("gap", gap), ("pace", pace)):
            self._vehicles[f"{name}_permille"][rows] = _permille(name, value)

    def rows_for(self, count: int) -> NDArray[np.int64]:
        """Idle vehicle rows for other traffic; taken back by `release` when they arrive."""
        while len(self._spare) < count:
            old = len(self._vehicles)
            self._vehicles = np.concatenate([self._vehicles, idle_vehicles(old)])
            self._busy = np.concatenate([self._busy, np.zeros(old, bool)])
            self._spare.extend(range(2 * old - 1, old - 1, -1))
        return np.array([self._spare.pop() for _ in range(count)], np.int64)

    def remaining(self, vehicles: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Routes of vehicles of running trips from their present link on, as `depart` takes them."""
        rows = np.asarray(vehicles, np.int64)
        starts = self._vehicles["position"][rows].astype(np.int64)
        lengths = self._vehicles["end"][rows] - starts
        ptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return ptr, self._route[np.repeat(starts - ptr[:-1], lengths) + np.arange(ptr[-1])]

    def divert(
        self, vehicles: ArrayLike, now_ms: int, route_ptr: NDArray[np.int64], route_links: NDArray[np.int32]
    ) -> None:
        """Give vehicles that have departed another way on; arrays as in `depart`, first link the present one.

        Raises
        ------
        TrafficError
            For a vehicle that has not departed, or a route that does not begin where it is or has a gap.
        """
        rows = np.asarray(vehicles, np.int64)
        if not len(rows):
            return
        if not np.all(self.departed(rows, now_ms)):
            raise TrafficError("a vehicle is given another route that has not departed")
        self._check_routes(rows, route_ptr, route_links)
        apart = route_links[route_ptr[:-1]] != self.current_link(rows)
        if apart.any():
            raise TrafficError(f"vehicle {rows[np.argmax(apart)]} is given a route that begins elsewhere")
        start = self._reserve(len(route_links))
        self._route[start : start + len(route_links)] = route_links
        self._divert(rows, start + route_ptr[:-1], start + route_ptr[1:], now_ms)

    def cut_short(self, vehicle: int, now_ms: int) -> None:
        """Let a vehicle on the road leave the streets at the end of its present link."""
        rows = np.array([vehicle], np.int64)
        position = self._vehicles["position"][rows].astype(np.int64)
        self._divert(rows, position, position + 1, now_ms)

    def _divert(
        self, rows: NDArray[np.int64], position: NDArray[np.int64], end: NDArray[np.int64], now_ms: int
    ) -> None:
        k.divert(
            rows, position, end, now_ms, self._links, self._slots, self._vehicles, self._route, self._ends,
            self._waiting, self._near, self._due, self._queue, self._far, self._clock,
        )  # fmt: skip

    def _check_routes(
        self, rows: NDArray[np.int64], route_ptr: NDArray[np.int64], route_links: NDArray[np.int32]
    ) -> None:
        lengths = np.diff(route_ptr)
        if np.any(lengths < 1):
            raise TrafficError(f"vehicle {rows[np.argmin(lengths)]} has an empty route")
        strange = (route_links < 0) | (route_links >= self.network.n_links)
        if strange.any():
            raise TrafficError(f"a route has link {route_links[np.argmax(strange)]}, which is not there")
        joints = np.ones(len(route_links), bool)
        joints[route_ptr[1:] - 1] = False
        at = np.flatnonzero(joints)
        meets = self.network.link_to[route_links[at]] == self.network.link_from[route_links[at + 1]]
        if not meets.all():
            raise TrafficError(f"a route has a gap after link {route_links[at[np.argmin(meets)]]}")

    def _reserve(self, size: int) -> int:
        if self._route_end + size > len(self._route):
            busy = np.flatnonzero(self._busy)
            starts, ends = (
                self._vehicles["position"][busy].astype(np.int64),
                self._vehicles["end"][busy].astype(np.int64),
            )
            lengths = ends - starts
            total = int(lengths.sum())
            shift = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64) if len(busy) else lengths
            picks = np.repeat(starts - shift, lengths) + np.arange(total)
            kept = self._route[picks]
            if total + size > len(self._route) // 2:
                self._route = np.empty(max(2 * len(self._route), 2 * (total + size)), np.int32)
            self._route[:total] = kept
            self._vehicles["position"][busy] = shift
            self._vehicles["end"][busy] = shift + lengths
            self._route_end = total
        start = self._route_end
        self._route_end += size
        return start

    # ------------------------------------------------------------------ motion

    def advance(self, until_ms: int, traversals: Traversals) -> Arrivals:
        """Move everything up to `until_ms` (exclusive); fills `traversals` afresh."""
        if until_ms > HORIZON_MS:
            raise TrafficError("the streets' times hold 24 days from the start, no more")
        departing = self._departing
        if self._departing_later:
            departing = np.concatenate([departing, *self._departing_later])
            departing = departing[np.lexsort((departing, self._vehicles["depart_ms"][departing]))]
            self._departing_later.clear()
        clock = self._clock
        clock[calendar.NEXT_DEPARTURE] = clock[calendar.TRAVERSALS] = clock[calendar.ARRIVALS] = 0
        traversals.n = 0
        while True:
            code = k.advance(
                until_ms, self._links, self._slots, self._vehicles, self._route, self._ends, self._foes,
                self._merges, self._waiting, departing, self._near, self._due, self._queue, self._far, clock,
                self.settings.gridlock_s * 1000, self.fleet_size,
                traversals.car, traversals.link, traversals.enter_ms, traversals.exit_ms,
                self._arrived, self._arrived_ms,
            )  # fmt: skip
            traversals.n = int(clock[calendar.TRAVERSALS])
            if code == k.DONE:
                break
            if code == k.HEAP_FULL:
                self._far = np.concatenate([self._far, np.empty_like(self._far)])
                continue
            traversals.grow(2 * traversals.capacity)
            self._arrived = np.concatenate([self._arrived, np.empty_like(self._arrived)])
            self._arrived_ms = np.concatenate([self._arrived_ms, np.empty_like(self._arrived_ms)])
        self._departing = departing[clock[calendar.NEXT_DEPARTURE] :]
        self._until_ms = max(self._until_ms, until_ms)
        done = int(clock[calendar.ARRIVALS])
        arrived = self._arrived[:done].copy()
        self._busy[arrived] = False
        others = arrived[arrived >= self.fleet_size]
        self._spare.extend(others[::-1].tolist())
        return Arrivals(arrived, self._arrived_ms[:done].copy())

    def positions(self, now_ms: int, *, ruler: Ruler | None = None) -> Positions:
        """Where every vehicle on the road is: a snapshot for drawing; many of them share one `ruler`."""
        who, on, metres = self.places(now_ms)
        x, y = (Ruler(self.network) if ruler is None else ruler).at(on, metres)
        return Positions(who, on, x, y)

    def places(self, now_ms: int) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]:
        """Every vehicle on the road: its row, its link, and metres from the link's start."""
        total = self.on_road
        who, on, metres = np.empty(total, np.int32), np.empty(total, np.int32), np.empty(total)
        network = self.network
        spacing = self.settings.spacing_m / self.settings.sample / network.link_lanes
        n = snapshot(
            now_ms, self._links, network.link_length, spacing, self._slots, self._vehicles, who, on, metres,
        )  # fmt: skip
        return who[:n], on[:n], metres[:n]

    def current_ms(self, sums: NDArray[np.int64], now_ms: int) -> NDArray[np.int64]:
        """Travel time a driver would expect on each link now, ms.

        The mean of the traversals in `sums` (count, total ms since some moment), but not less
        than free flow nor than the time the head vehicle has already spent on the link.
        """
        links = self._links
        free = links["free_ms"].astype(np.int64)
        mean = np.where(sums[:, 0] > 0, sums[:, 1] // np.maximum(sums[:, 0], 1), free)
        standing = links["count_in"] > links["count_out"]
        heads = self._slots["vehicle"][links["slots"] + links["head"]]
        entered = self._vehicles["enter_ms"][np.where(standing, heads, 0)]
        return np.asarray(np.maximum(np.maximum(mean, free), np.where(standing, now_ms - entered, 0)))

    def entry_wait_ms(self, now_ms: int) -> NDArray[np.int64]:
        """How long the head vehicles before each link have waited by now to enter it, the longest of them, ms."""
        links = self._links
        before = np.flatnonzero(self._waiting["target"][: len(links)] != calendar.NOBODY)
        here = links[before]
        arrived = self._slots["ms"][here["slots"] + here["head"]]
        ready = np.maximum(arrived, -(-here["next_out_us"] // 1000))
        wait = np.zeros(len(links), np.int64)
        np.maximum.at(wait, self._waiting["target"][before], now_ms - ready)
        return wait

    def census(self) -> int:
        """Vehicles found by counting slots and source queues, to be compared with the counters."""
        waiting = 0
        for link in np.flatnonzero(self._merges["source_first"] != calendar.NOBODY):
            row = self._merges["source_first"][link]
            while row != calendar.NOBODY:
                waiting += 1
                behind = int(self._vehicles["first_ms"][row])
                row = -2 - behind if behind < -1 else calendar.NOBODY
        return waiting + int(self.link_vehicles.sum())


def _permille(name: str, value: ArrayLike, *, least: int = 0) -> NDArray[np.float64]:
    """What is relative to a car's or link's own, as the records hold it."""
    permille = np.rint(np.multiply(value, 1000.0))
    wrong = ~((permille >= least * 1000) & (permille <= MOST * 1000))
    if np.any(wrong):
        first = np.atleast_1d(value)[np.argmax(wrong)]
        raise TrafficError(f"{name} is from {least} to {MOST} times that of a car on the link, not {first}")
    return np.asarray(permille)


def on_cache_lines(rows: int, kind: np.dtype[np.void]) -> NDArray[np.void]:
    """Zeroed records whose first byte begins a cache line, so that none of 64 bytes lies on two."""
    raw = np.zeros(rows * kind.itemsize + 64, np.uint8)
    skip = -raw.ctypes.data % 64
    return raw[skip : skip + rows * kind.itemsize].view(kind)


def idle_vehicles(rows: int) -> NDArray[np.void]:
    """Vehicle records without a trip, as good as the link allows."""
    made = on_cache_lines(rows, records.VEHICLE)
    made["gap_permille"] = made["pace_permille"] = made["size_permille"] = 1000
    return made
