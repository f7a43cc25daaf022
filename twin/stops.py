"""Charging stops on the way: which sites a car could take and what each costs on real roads.

A driver looks when a trip is due, and again on the road when the battery will hardly do. Sites near the car, beside
its way and near its goal are ranked as the crow flies; the best are reached and left by searched routes, with the
travel times that the driver knows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from maps.network import RoadNetwork
from twin.agents import USUAL_KWH, TripQuestion
from twin.chance import Stream, chance
from twin.charging.charging import Charging
from twin.energy.drive import Drive
from twin.fleet.fleet import Fleet, Kind, State
from twin.traffic.engine import Streets
from twin.traffic.route_choice import RouteChoice
from twin.traffic.routing import Routes
from twin.traffic.routing_kernels import FOUND, SAME_NODE
from twin.trips import Trips

PLANNING_MARGIN = 1.15
"""Drivers plan with this much more energy than the mean prediction says."""
DETOUR = 1.4
"""Road distance over crow-fly distance, to rank sites before their routes are searched."""
SEARCH_MPS = 8.0
"""Speed on the way to a site, for the same."""
AROUND, BESIDE = 4, 2
"""Sites looked at near the car, and near each third of its way and its goal."""
SITES = 4
"""Charging sites a driver weighs."""
WITHIN = 0.95
"""Share of the battery within which destination management proposes a site."""
LOOK_BELOW = 0.35
"""Drivers look at sites only when the trip would leave less than this share of the battery."""
LOOK_AGAIN_BELOW = 0.05
"""The same on the road; who drives to a charging site looks for a nearer one only when it is out of reach."""
MAX_STOPS = 4
"""Charging visits on one trip before a driver gives up."""

Floats = NDArray[np.float64]


class Ways(NamedTuple):
    """What lies before cars; arrays of shape (n,).

    Attributes
    ----------
    start : int32
        Node from which a way to a site begins.
    after : int32
        Link that leads there, -1 for a parked car.
    goal : int32
    first_m, first_s : float64
        Rest of that link; 0 for a parked car.
    metres, seconds, rise_m : float64
        Of the whole way, that link included.
    routes : Routes
    """

    start: NDArray[np.int32]
    after: NDArray[np.int32]
    goal: NDArray[np.int32]
    first_m: Floats
    first_s: Floats
    metres: Floats
    seconds: Floats
    rise_m: Floats
    routes: Routes

    def only(self, keep: NDArray[np.bool_]) -> Ways:
        """Those of a mask."""
        return Ways(
            self.start[keep], self.after[keep], self.goal[keep], self.first_m[keep], self.first_s[keep],
            self.metres[keep], self.seconds[keep], self.rise_m[keep], self.routes.only(keep),
        )  # fmt: skip


class _Options:
    """Sites of n cars, k each; -1 where there is none."""

    def __init__(self, n: int) -> None:
        shape = (n, SITES)
        self.site = np.full(shape, -1, np.int32)
        self.reach_j = np.zeros(shape, np.int64)
        self.kw, self.wait_s, self.detour_m, self.detour_s = (np.zeros(shape) for _ in range(4))
        self.on_way = np.zeros(shape, bool)


class Stops:
    """Puts questions about charging stops to drivers, and lets cars on the road turn off to a site.

    Parameters
    ----------
    fleet, network, charging, drive, trips, streets, route_choice : rooms of the world
    rise_m : ndarray of float64, shape (n_links,)
    seed : int

    Attributes
    ----------
    diverted : int
        Cars that turned off to a charging site while they drove.
    """

    def __init__(
        self,
        fleet: Fleet,
        network: RoadNetwork,
        charging: Charging,
        drive: Drive,
        trips: Trips,
        streets: Streets,
        route_choice: RouteChoice,
        *,
        rise_m: Floats,
        seed: int,
    ) -> None:
        self._fleet, self._network, self._charging, self._drive = fleet, network, charging, drive
        self._trips, self._streets, self._route_choice = trips, streets, route_choice
        self._rise_m, self._seed = rise_m, seed
        self.diverted = 0

    # ------------------------------------------------------------------ a trip is due

    def question(
        self,
        rows: NDArray[np.int64],
        goal: NDArray[np.int32],
        routes: Routes,
        *,
        avoid: NDArray[np.int32],
        led: NDArray[np.bool_],
        now_ms: int,
    ) -> TripQuestion:
        """Electric cars that are parked and have these routes before them.

        `avoid` is the site each car has just left, -1 none. `led` cars propose sites beside the way, as far as the
        battery reaches, before all others.
        """
        nobody, nothing = np.full(len(rows), -1, np.int32), np.zeros(len(rows))
        seconds = self._route_choice.expected_ms(routes, self._route_choice.known(rows), now_ms) / 1000
        metres, rise_m = routes.totals(self._network.link_length), routes.totals(self._rise_m)
        ways = Ways(self._fleet.node[rows], nobody, goal, nothing, nothing, metres, seconds, rise_m, routes)
        fleet = self._fleet
        socket = ((goal == fleet.home_node[rows]) & (fleet.home_site[rows] >= 0)) | (
            (goal == fleet.work_node[rows]) & (fleet.work_site[rows] >= 0)
        )
        need, usable = self._need_j(rows, ways, now_ms), self._drive.usable_j(rows, at_ms=now_ms)
        looks = (usable - need < LOOK_BELOW * fleet.capacity_j[rows]) & (self._trips.stops[rows] < MAX_STOPS)
        low = np.flatnonzero(looks)
        options = self._options(rows, ways, low, avoid, usable, now_ms)
        for i in low[led[low]].tolist():
            self._beside(options, i, int(rows[i]), ways, int(avoid[i]), int(usable[i]), int(need[i]))
        return self._asked(rows, options, usable, need, socket, now_ms, driving=False)

    # ------------------------------------------------------------------ on the road

    def seek(
        self,
        ask: Callable[[NDArray[np.int64], TripQuestion], NDArray[Any]],
        via_site: NDArray[np.int32],
        tried_site: NDArray[np.int32],
        now_ms: int,
    ) -> None:
        """Let drivers whose battery will hardly do look for a site, and turn off there.

        Parameters
        ----------
        ask : callable
            Asks the minds; whoever answers with an option is sent to it, everybody else drives on.
        via_site : ndarray of int32, shape (n_cars,)
            Site each car is driving to, -1 none; written.
        tried_site : ndarray of int32, shape (n_cars,)
            Site each car has just left.
        """
        fleet, streets, network = self._fleet, self._streets, self._network
        low = (fleet.state == State.DRIVING) & (fleet.kind == Kind.ELECTRIC) & (self._trips.stops < MAX_STOPS)
        rows = np.flatnonzero(low & (fleet.battery_j < LOOK_BELOW * fleet.capacity_j))
        rows = rows[streets.departed(rows, now_ms)]
        if not len(rows):
            return
        ptr, links = streets.remaining(rows)
        routes = Routes(ptr, links, np.full(len(rows), FOUND, np.uint8))
        known = self._route_choice.known(rows)
        here, last = links[ptr[:-1]], links[ptr[1:] - 1]
        expected = self._route_choice.expected_ms(routes, known, now_ms) / 1000
        one = Routes(np.arange(len(rows) + 1), here, routes.status)
        ways = Ways(
            network.link_to[here], here, network.link_to[last], network.link_length[here].astype(float),
            self._route_choice.expected_ms(one, known, now_ms) / 1000,
            routes.totals(network.link_length), expected, routes.totals(self._rise_m), routes,
        )  # fmt: skip
        need, usable = self._need_j(rows, ways, now_ms), self._drive.usable_j(rows, at_ms=now_ms)
        heads = via_site[rows] >= 0
        short = usable - need < np.where(heads, 0.0, LOOK_AGAIN_BELOW) * fleet.capacity_j[rows]
        keep = short & (np.diff(ptr) > 1)
        if not keep.any():
            return
        rows, need, usable, heads = rows[keep], need[keep], usable[keep], heads[keep]
        ways = ways.only(keep)
        avoid = np.where(heads, via_site[rows], tried_site[rows])
        options = self._options(rows, ways, np.arange(len(rows)), avoid, usable, now_ms)
        answer = ask(rows, self._asked(rows, options, usable, need, heads, now_ms, driving=True))
        turn = np.flatnonzero(answer >= 0)
        self._turn_off(rows[turn], options.site[turn, answer[turn]], ways, turn, via_site, now_ms)

    def _turn_off(
        self,
        cars: NDArray[np.int64],
        sites: NDArray[np.int32],
        ways: Ways,
        chosen: NDArray[np.int64],
        via_site: NDArray[np.int32],
        now_ms: int,
    ) -> None:
        if not len(cars):
            return
        known, here = self._route_choice.known(cars), ways.after[chosen]
        nodes = self._charging.sites.site_node[sites]
        found = self._route_choice.routes(ways.start[chosen], nodes, known, now_ms, after=here)
        lengths = np.diff(found.ptr)
        ptr = np.concatenate([[0], np.cumsum(lengths + 1)]).astype(np.int64)
        links = np.insert(found.links, found.ptr[:-1], here)
        self._streets.divert(cars, now_ms, ptr, links)
        free_ms = self._streets.physics.free_ms
        whole = Routes(ptr, links, found.status)
        longer = whole.totals(free_ms) - ways.routes.take(chosen).totals(free_ms)
        self._trips.free_ms[cars] += np.rint(longer).astype(np.int64)
        via_site[cars] = sites
        self.diverted += len(cars)
        if self._charging.settings.reserve_min:
            self._charging.reservations.ask(cars, sites)

    # ------------------------------------------------------------------ sites

    def _need_j(self, rows: NDArray[np.int64], ways: Ways, now_ms: int) -> NDArray[np.int64]:
        expected = self._drive.predict_j(rows, ways.metres, ways.seconds, rise_m=ways.rise_m, at_ms=now_ms)
        return np.asarray(np.rint(expected * PLANNING_MARGIN), np.int64)

    def _pool(
        self, rows: NDArray[np.int64], ways: Ways, which: NDArray[np.int64], avoid: NDArray[np.int32]
    ) -> tuple[NDArray[np.int32], Floats, Floats]:
        """Sites near the car, beside its way and near its goal with power (kW) and wait (s); each once, -1 none."""
        starts, lengths = ways.routes.ptr[:-1][which], np.diff(ways.routes.ptr)[which]
        parts = [self._charging.candidates(ways.start[which], rows[which], k=AROUND)]
        for third in (1, 2):
            at = ways.routes.links[np.minimum(starts + lengths * third // 3, max(len(ways.routes.links) - 1, 0))]
            parts.append(self._charging.candidates(self._network.link_to[at], rows[which], k=BESIDE))
        parts.append(self._charging.candidates(ways.goal[which], rows[which], k=BESIDE))
        site, _, kw, wait_s = (np.hstack(of) for of in zip(*parts, strict=True))
        site[site == avoid[which][:, None]] = -1
        for j in range(1, site.shape[1]):
            site[(site[:, :j] == site[:, j : j + 1]).any(axis=1), j] = -1
        return site, kw, wait_s

    def _options(
        self,
        rows: NDArray[np.int64],
        ways: Ways,
        which: NDArray[np.int64],
        avoid: NDArray[np.int32],
        usable: NDArray[np.int64],
        now_ms: int,
    ) -> _Options:
        """The sites that seem to cost least time, for the cars `which`; way there and detour by searched routes."""
        out = _Options(len(rows))
        if not len(which):
            return out
        site, kw, wait_s = self._pool(rows, ways, which, avoid)
        x, y, node = self._network.node_x, self._network.node_y, self._charging.sites.site_node
        here, goal, there = ways.start[which][:, None], ways.goal[which][:, None], node[np.maximum(site, 0)]
        to_m = DETOUR * np.hypot(x[there] - x[here], y[there] - y[here])
        off_m = to_m + DETOUR * (
            np.hypot(x[there] - x[goal], y[there] - y[goal]) - np.hypot(x[here] - x[goal], y[here] - y[goal])
        )
        cars = np.repeat(rows[which], site.shape[1])
        reach = self._drive.predict_j(cars, to_m.ravel(), to_m.ravel() / SEARCH_MPS, at_ms=now_ms).reshape(site.shape)
        lost_s = np.maximum(off_m, 0.0) / SEARCH_MPS + wait_s + USUAL_KWH / np.maximum(kw, 0.1) * 3600
        if value := self._charging.settings.value_of_time:
            lost_s = lost_s + USUAL_KWH * self._charging.operation.price(now_ms, np.maximum(site, 0)) / value * 3600
        lost_s = np.where((site >= 0) & (reach <= usable[which][:, None]), lost_s, np.inf)
        best = np.argsort(lost_s, axis=1, kind="stable")[:, :SITES]
        some = np.isfinite(np.take_along_axis(lost_s, best, 1))
        picked = np.where(some, np.take_along_axis(site, best, 1), -1)
        out.site[which], out.kw[which] = picked, np.where(some, np.take_along_axis(kw, best, 1), 0.0)
        out.wait_s[which] = np.where(some, np.take_along_axis(wait_s, best, 1), 0.0)
        i, j = np.nonzero(picked >= 0)
        self._by_road(out, rows, ways, which[i], j, now_ms)
        return out

    def _by_road(
        self,
        out: _Options,
        rows: NDArray[np.int64],
        ways: Ways,
        i: NDArray[np.int64],
        j: NDArray[np.int64],
        now_ms: int,
    ) -> None:
        """Way to the sites `out.site[i, j]` and detour over them by searched routes; without a route no option."""
        choice, lengths = self._route_choice, self._network.link_length
        known = choice.known(rows[i])
        node = self._charging.sites.site_node[out.site[i, j]]
        to = choice.routes(ways.start[i], node, known, now_ms, after=ways.after[i])
        on = choice.routes(node, ways.goal[i], known, now_ms)
        to_m, to_s = (
            to.totals(lengths) + ways.first_m[i],
            choice.expected_ms(to, known, now_ms) / 1000 + ways.first_s[i],
        )
        reach = self._drive.predict_j(rows[i], to_m, to_s, rise_m=to.totals(self._rise_m), at_ms=now_ms)
        out.reach_j[i, j] = np.rint(reach * PLANNING_MARGIN).astype(np.int64)
        out.detour_m[i, j] = np.maximum(to_m + on.totals(lengths) - ways.metres[i], 0.0)
        on_s = choice.expected_ms(on, known, now_ms) / 1000
        out.detour_s[i, j] = np.maximum(to_s + on_s - ways.seconds[i], 0.0)
        lost = ~np.isin(to.status, (FOUND, SAME_NODE)) | ~np.isin(on.status, (FOUND, SAME_NODE))
        out.site[i[lost], j[lost]] = -1

    def _beside(self, out: _Options, i: int, car: int, ways: Ways, avoid: int, usable: int, need: int) -> None:
        """Sites beside the way that destination management proposes, in the place of the others."""
        metres = max(float(ways.metres[i]), 1.0)
        way = ways.routes.links[ways.routes.ptr[i] : ways.routes.ptr[i + 1]]
        reach_m = float(ways.metres[i]) * (WITHIN * usable) / max(need, 1)
        found = self._charging.choice.beside(way, car, reach_m=reach_m, avoid=avoid, detour=DETOUR, k=SITES)
        n = len(found.site)
        if not n:
            return
        out.site[i], out.kw[i], out.wait_s[i], out.detour_m[i], out.reach_j[i] = -1, 0.0, 0.0, 0.0, 0
        out.site[i, :n], out.kw[i, :n], out.wait_s[i, :n] = found.site, found.kw, found.wait_s
        out.detour_m[i, :n], out.detour_s[i, :n], out.on_way[i, :n] = found.detour_m, found.detour_m / SEARCH_MPS, True
        # on the way as much is spent as on the rest of it
        out.reach_j[i, :n] = np.rint(found.to_m / metres * need).astype(np.int64)

    def _asked(
        self,
        rows: NDArray[np.int64],
        options: _Options,
        usable: NDArray[np.int64],
        need: NDArray[np.int64],
        socket: NDArray[np.bool_],
        now_ms: int,
        *,
        driving: bool,
    ) -> TripQuestion:
        site, charging = options.site, self._charging
        return TripQuestion(
            rows=rows,
            battery_j=usable,
            capacity_j=self._fleet.capacity_j[rows],
            need_j=need,
            charges_at_goal=socket,
            site=site,
            reach_j=options.reach_j,
            kw=options.kw,
            wait_s=options.wait_s,
            detour_m=options.detour_m,
            detour_s=options.detour_s,
            on_way=options.on_way,
            driving=np.full(len(rows), driving),
            u=chance(self._seed, Stream.SITE_CHOICE, rows, now_ms),
            price=np.where(site >= 0, charging.operation.price(now_ms, np.maximum(site, 0)), 0.0),
            value_of_time=np.full(len(rows), charging.settings.value_of_time or np.inf),
        )
