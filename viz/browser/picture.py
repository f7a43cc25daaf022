"""What the page draws, as arrays: the city once, the cars of every tick, links and sites now and then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maps.network import ROAD_CLASSES, CityMap
from twin.charging.site import SITE_KINDS
from twin.charging.visits import Phase
from twin.fleet.fleet import Kind, State
from twin.sessions import Work
from twin.traffic.ruler import Ruler
from twin.world import World
from viz.browser.packet import pack
from viz.streets import Streets

OFF_MAP = 65_535
"""Both coordinates of a car that is beyond the extract, on an approach road."""

NO_BATTERY = 31
"""Step of charge of a car without a traction battery; others have 0 to 30."""

MOST_POINTS = 60_000
"""Car positions in one packet; with more cars on the move there are fewer moments per tick."""

MOST_MOMENTS = 4

FEW = 3
"""Vehicles on a link since the last look from which its speed is shown."""


@dataclass(frozen=True, eq=False)
class Extent:
    """The extract's box, and positions in it as 16-bit steps: 0.2 m in a city of 13 km."""

    west: float
    south: float
    size_m: float

    @classmethod
    def of(cls, streets: Streets) -> Extent:
        """A square around the links of the extract, with a little air."""
        west, east, south, north = streets.box()
        size = max(east - west, north - south, 1.0)
        return cls(west - 0.01 * size, south - 0.01 * size, 1.02 * size)

    def steps(self, x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.uint16]:
        """Metres as steps, shape (n, 2); what lies outside is OFF_MAP."""
        scaled = np.stack([x - self.west, y - self.south], axis=-1) * (OFF_MAP - 1) / self.size_m
        outside = np.any((scaled < 0) | (scaled > OFF_MAP - 1), axis=-1)
        return np.where(outside[..., None], OFF_MAP, np.rint(np.clip(scaled, 0, OFF_MAP - 1))).astype(np.uint16)

    def head(self) -> dict[str, float]:
        """As the page wants it."""
        return {"west": self.west, "south": self.south, "size_m": self.size_m}


def city_packet(
    streets: Streets, extent: Extent, *, title: str, attribution: str, start: str, zone: str, marks: dict[str, Any]
) -> bytes:
    """The streets and what stands on them, sent once.

    Parameters
    ----------
    marks : dict
        `site_x, site_y, site_kind, site_sockets, site_id`, `cell_x, cell_y`, metres from the streets' origin.
    """
    points = np.stack([streets.x - extent.west, streets.y - extent.south], axis=1)
    arrays: dict[str, NDArray[Any]] = {
        "xy": points.astype(np.float32),
        "ptr": streets.ptr.astype(np.uint32),
        "road": streets.road.astype(np.uint8),
        "outside": streets.outside.astype(np.uint8),
        "site_x": np.asarray(marks["site_x"] - extent.west, np.float32),
        "site_y": np.asarray(marks["site_y"] - extent.south, np.float32),
        "site_kind": np.asarray(marks["site_kind"], np.uint8),
        "site_sockets": np.asarray(marks["site_sockets"], np.uint16),
        "site_id": np.asarray(marks["site_id"], np.int32),
        "cell_x": np.asarray(marks["cell_x"] - extent.west, np.float32),
        "cell_y": np.asarray(marks["cell_y"] - extent.south, np.float32),
    }
    head = {
        "title": title, "attribution": attribution, "start": start, "zone": zone, "classes": list(ROAD_CLASSES),
        "kinds": list(SITE_KINDS), **extent.head(),
    }  # fmt: skip
    return pack(head, arrays)


def marks_of(world: World) -> dict[str, Any]:
    """Shared charging sites and radio cells of a world; sockets at single homes are left to the cars on them."""
    sites = world.charging.sites
    rows = shared_sites(world)
    sockets = np.bincount(sites.socket_site, sites.socket_count, len(sites)).astype(np.int64)
    return {
        "site_x": sites.x[rows],
        "site_y": sites.y[rows],
        "site_kind": sites.site_kind[rows],
        "site_sockets": np.minimum(sockets[rows], 65_535),
        "site_id": rows,
        "cell_x": world.city.cell_x,
        "cell_y": world.city.cell_y,
    }


def shared_sites(world: World) -> NDArray[np.int64]:
    """Rows of the charging sites that more than one household uses."""
    return np.flatnonzero(world.charging.sites.site_kind != SITE_KINDS.index("home"))


class Cameras:
    """Looks at one world after each tick and never changes it.

    Parameters
    ----------
    world : World
    extent : Extent
    """

    def __init__(self, world: World, extent: Extent) -> None:
        self.world, self.extent = world, extent
        self._ruler = Ruler(world.city.network)
        self._electric = np.flatnonzero(world.fleet.kind == Kind.ELECTRIC)
        self._told = np.zeros(len(world.fleet), np.uint16)
        self._cells = world.cloud.cells
        self._sent_b = world.fleet.delivered_b.copy()
        self._cells_at_ms = world.now_ms
        self._sums = world.streets.link_sums.copy()
        self.site_rows = shared_sites(world)
        net = world.city.network
        at_home = world.fleet.home_place >= 0
        place = np.where(at_home, world.fleet.home_place, 0)
        node = world.fleet.home_node
        self._home_x = np.where(at_home, _of(world.city, "place_x", place), net.node_x[node])
        self._home_y = np.where(at_home, _of(world.city, "place_y", place), net.node_y[node])

    def parked_xy(self, cars: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Where cars stand that are not on the road: at the home itself, else at the node."""
        fleet, net = self.world.fleet, self.world.city.network
        node = fleet.node[cars]
        home = node == fleet.home_node[cars]
        x = np.where(home, self._home_x[cars], net.node_x[node])
        y = np.where(home, self._home_y[cars], net.node_y[node])
        return x, y

    def words(self) -> NDArray[np.uint16]:
        """Every car's colour in every mode, shape (n_cars,): the bits that `WORD` in page.js reads."""
        fleet = self.world.fleet
        soc = np.where(fleet.capacity_j > 0, np.rint(30 * self._charged()), NO_BATTERY).astype(np.uint16)
        bits = fleet.kind.astype(np.uint16)
        bits |= fleet.state.astype(np.uint16) << 2
        bits |= (self.world.autonomy.engaged & (fleet.state == State.DRIVING)).astype(np.uint16) << 5
        bits |= (fleet.propilot > 0).astype(np.uint16) << 6
        bits |= (fleet.connected > 0).astype(np.uint16) << 7
        return np.asarray(bits | (soc << 8), np.uint16)

    def _charged(self) -> NDArray[np.float32]:
        """State of charge of every car, to the resolution of a picture."""
        fleet = self.world.fleet
        share: NDArray[np.float32] = (fleet.battery_j / np.maximum(fleet.capacity_j, 1)).astype(np.float32)
        return share

    def _changed(self, *, everything: bool) -> dict[str, NDArray[Any]]:
        """The words that are not as they were told last, and whose they are."""
        words = self.words()
        told, self._told = self._told, words
        rows = np.arange(len(words)) if everything else np.flatnonzero(words != told)
        return {"word_id": rows.astype(np.uint32), "word": words[rows]}

    def everyone(self) -> dict[str, NDArray[Any]]:
        """Positions of all cars now, for a page that has just opened."""
        n = len(self.world.fleet)
        x, y = self.parked_xy(np.arange(n))
        seen = self.world.streets.positions(self.world.now_ms, ruler=self._ruler)
        own = seen.vehicle < n
        x[seen.vehicle[own]], y[seen.vehicle[own]] = seen.x[own], seen.y[own]
        return {
            "id": np.arange(n, dtype=np.uint32),
            "at": self.extent.steps(x, y)[None],
            **self._changed(everything=True),
            "other": self.extent.steps(seen.x[~own], seen.y[~own]),
        }

    def tick(self, t0_ms: int, also: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Positions during the tick that ended now: cars that moved, at equal moments from `t0_ms` on.

        Parameters
        ----------
        t0_ms : int
            Where the tick began.
        also : ndarray of int
            Cars whose place may have changed before that.

        Returns
        -------
        dict
            `id` (m,), `at` (moments + 1, m, 2), `word_id` and `word` (changed,), `other` (k, 2).

        Notes
        -----
        On links left in the tick a car is where its exact entry and exit put it at even speed; on its present link
        where the engine puts it. So it is drawn along the streets, also where it turned inside the tick.
        """
        world, n = self.world, len(self.world.fleet)
        left = world.traversals
        car, link = left.car[: left.n], left.link[: left.n]
        enter, out = left.enter_ms[: left.n], left.exit_ms[: left.n]
        marked = np.zeros(n, bool)
        marked[car] = marked[also] = True
        marked |= world.fleet.state == State.DRIVING
        moved = np.flatnonzero(marked)
        moments = int(np.clip(MOST_POINTS // max(len(moved), 1), 1, MOST_MOMENTS))
        at_ms = np.linspace(t0_ms, world.now_ms, moments + 1)
        place = np.full(n, -1)
        place[moved] = np.arange(len(moved))
        # rows of all moments in one list, so that the geometry is asked once; what comes later in it counts
        length = world.city.network.link_length
        first = first_of(car)
        where: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = []
        for k, at in enumerate(at_ms):
            vehicle, on, metres = world.streets.places(int(at))
            own = vehicle < n
            where.append((k * len(moved) + place[vehicle[own]], on[own], metres[own]))
            # the first link of the tick also stands for the moments before it was entered
            rows = np.flatnonzero((out > at) & ((enter <= at) | first))
            share = np.clip((at - enter[rows]) / np.maximum(out[rows] - enter[rows], 1), 0, 1)
            where.append((k * len(moved) + place[car[rows]], link[rows], share * length[link[rows]]))
            if k == moments:
                where.append((np.empty(0, int), on[~own], metres[~own]))
        x, y = self._ruler.at(np.concatenate([w[1] for w in where]), np.concatenate([w[2] for w in where]))
        row = np.concatenate([w[0] for w in where])
        still_x, still_y = self.parked_xy(moved)
        shot_x, shot_y = np.tile(still_x, moments + 1), np.tile(still_y, moments + 1)
        shot_x[row], shot_y[row] = x[: len(row)], y[: len(row)]
        return {
            "id": moved.astype(np.uint32),
            "at": self.extent.steps(shot_x, shot_y).reshape(moments + 1, len(moved), 2),
            **self._changed(everything=False),
            "other": self.extent.steps(x[len(row) :], y[len(row) :]),
        }

    def sites(self) -> dict[str, NDArray[Any]]:
        """Cars on sockets, cars waiting and power of every shared site now."""
        world, n = self.world, len(self.world.charging.sites)
        sessions, visits = world.sessions, world.charging.visits
        rows = sessions.live(Work.CHARGE)
        phase, site = sessions.phase[rows], sessions.site[rows]
        plugged = np.isin(phase, (Phase.STARTING, Phase.CHARGING, Phase.ENDING, Phase.IDLE))
        watts = np.bincount(site, np.where(phase == Phase.CHARGING, visits.grant_w[rows], 0.0), n)
        on = np.bincount(site[plugged], minlength=n)
        waiting = np.bincount(site[phase == Phase.QUEUED], minlength=n)
        return {
            "site_on": np.minimum(on[self.site_rows], 65_535).astype(np.uint16),
            "site_queue": np.minimum(waiting[self.site_rows], 65_535).astype(np.uint16),
            "site_kw": (watts[self.site_rows] / 1000).astype(np.float32),
        }

    def cells(self) -> dict[str, NDArray[Any]]:
        """Telemetry that got through each radio cell since the last look, bytes per second."""
        fleet, cells = self.world.fleet, self._cells
        where = np.where(fleet.link >= 0, cells.link_cell[np.maximum(fleet.link, 0)], cells.node_cell[fleet.node])
        gone = fleet.delivered_b - self._sent_b
        seconds = max((self.world.now_ms - self._cells_at_ms) / 1000, 1e-3)
        self._sent_b, self._cells_at_ms = fleet.delivered_b.copy(), self.world.now_ms
        return {"cell_bps": (np.bincount(where, gone, cells.n) / seconds).astype(np.float32)}

    def links(self) -> dict[str, NDArray[np.uint8]]:
        """Speed on every link since the last look over its free speed, 0 to 200; 255 where fewer than `FEW` were."""
        streets = self.world.streets
        sums = streets.link_sums
        recent = sums - self._sums
        self._sums = sums.copy()
        now = streets.current_ms(recent, self.world.now_ms)
        ratio = np.rint(200 * streets.physics.free_ms / np.maximum(now, 1)).clip(0, 200)
        quiet = recent[:, 0] + streets.link_vehicles < FEW  # one car at a red light is no congestion
        return {"speed": np.where(quiet, 255, ratio).astype(np.uint8)}

    def charge(self) -> NDArray[np.uint32]:
        """Electric cars by state of charge, ten steps of 10 %, shape (10,)."""
        tenth = np.minimum(10 * self._charged()[self._electric], 9).astype(np.intp)
        return np.bincount(tenth, minlength=10).astype(np.uint32)


def first_of(car: NDArray[Any]) -> NDArray[np.bool_]:
    """Marks the first row of each car.

    Examples
    --------
    >>> first_of(np.array([4, 7, 4])).tolist()
    [True, True, False]
    """
    first = np.zeros(len(car), bool)
    first[np.unique(car, return_index=True)[1]] = True
    return first


def _of(city: CityMap, name: str, rows: NDArray[Any]) -> NDArray[np.float64]:
    values = getattr(city, name)
    return np.asarray(values[rows], np.float64) if len(values) else np.zeros(len(rows))
