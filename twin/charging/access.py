"""Who can plug in where: the sites of a city from its map, and sockets at homes and workplaces by access."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from maps.network import OUTSIDE, ROAD_CLASSES, CityMap
from twin import facts
from twin.chance import Stream, chance
from twin.charging.site import (
    ALWAYS,
    CCS,
    CHADEMO,
    DC_SOCKETS,
    FAST_FROM_KW,
    TYPE1,
    TYPE2,
    ChargingError,
    SiteKind,
    Sites,
    Socket,
)
from twin.charging.site_file import read_own_sites
from twin.fleet.fleet import Fleet, Kind
from twin.grid.feeders import Feeders, cluster, split
from twin.settings import ChargingSettings

WORK_SOCKETS = 4
"""Sockets of a full workplace site; workplaces near each other share one, because the fleet is a sample."""

DEGREE_M = 111_320.0
FARTHEST_M = 2000.0
"""A site of the scenario that lies farther from every street is a mistake in its file."""

MAIN_ROADS = tuple(
    ROAD_CLASSES.index(c) for c in ("trunk", "trunk_link", "primary", "primary_link", "secondary", "secondary_link")
)
"""Roads along which a scenario's own fast sites stand: main, but with driveways."""


def inlet(market: str) -> int:
    """AC connector of the cars of a market: type 1 in Japan and the US, type 2 in Europe (index into SOCKET_KINDS)."""
    return TYPE2 if market == "europe" else TYPE1


def home_access(market: str) -> float:
    """Share of electric cars with a socket at home by market.

    Who buys an electric car mostly can charge at home, unlike households at large: facts
    charging `location_split_energy.japan_base_charging_share_press`,
    `plug_in.leaf_europe_2014` and `plug_in.ev_project_leaf_2011_2013`.
    """
    known = facts.load("charging")
    shares = {
        "japan": known["location_split_energy"]["japan_base_charging_share_press"],
        "europe": known["plug_in"]["leaf_europe_2014"]["overnight_home_share_of_drivers"],
        "us": known["plug_in"]["ev_project_leaf_2011_2013"]["home_share_of_events_2012_2013"],
    }
    return float(shares[market])


def work_access(market: str) -> float:
    """Share of electric commuters with a socket at work.

    The share of all energy that is charged at work, over the share of their charges that drivers who have a socket
    there do there. Facts charging `location_split_energy` and `plug_in.ev_project_leaf_2011_2013`.
    """
    known = facts.load("charging")
    cohort = known["plug_in"]["ev_project_leaf_2011_2013"]
    at_work = (
        cohort["with_workplace_access"]["work"] + cohort["with_workplace_access_all_leaf_2015_report"]["work"]
    ) / 2
    return float(min(known["location_split_energy"][market]["work"] / at_work, 1.0))


def build_sites(
    city: CityMap, fleet: Fleet, feeders: Feeders, settings: ChargingSettings, *, market: str, seed: int, dc_eta: float
) -> Sites:
    """All sites of a city; sets `fleet.home_site` and `fleet.work_site`.

    Home: one site per feeder, a socket for every electric car with access there, so nobody waits at home. Work: cars
    with access share sockets, `work_cars_per_socket` to one. Public and fast: the map's charging stations; a station
    with both gives two sites. Sites hang on the nearest feeder; fast sites from 50 kW (facts grid:
    japan.connection.low_voltage_below_kw) and homes outside the map have feeders of their own.
    """
    builder = _Builder(city, fleet, feeders, settings, market=market, seed=seed)
    builder.homes()
    builder.workplaces()
    builder.stations()
    builder.scenario_sites()
    builder.own_sites()
    if lost := sorted(set(feeders.sites) - builder.named):
        raise ChargingError(f"grid.feeders: no charging site is called {lost[0]!r}, which a feeder names")
    return builder.sites.freeze(dc_eta=dc_eta)


def _groups(key: NDArray[Any], rows: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Rows by key, keys rising, rows in their own order."""
    order = np.argsort(key, kind="stable")
    keys, first = np.unique(key[order], return_index=True)
    yield from zip(keys.tolist(), np.split(rows[order], first[1:]), strict=False)


def _slow_and_fast(sockets: list[Socket]) -> Iterator[tuple[SiteKind, list[Socket]]]:
    """Sockets of a station as up to two sites."""
    fast = [s for s in sockets if s.kind in DC_SOCKETS and s.kw >= FAST_FROM_KW]
    slow = [s for s in sockets if s not in fast]
    yield from ((kind, some) for kind, some in ((SiteKind.PUBLIC, slow), (SiteKind.FAST, fast)) if some)


class _Builder:
    """Adds sites in a fixed order and numbers the feeders that single sites have for themselves."""

    def __init__(
        self, city: CityMap, fleet: Fleet, feeders: Feeders, settings: ChargingSettings, *, market: str, seed: int
    ) -> None:
        self.city, self.fleet, self.feeders, self.settings, self.market, self.seed = (
            city,
            fleet,
            feeders,
            settings,
            market,
            seed,
        )
        self.sites = Sites()
        self.named: set[str] = set()
        self.next_feeder = len(feeders.x)
        middles = np.column_stack([feeders.x, feeders.y])
        self.tree = cKDTree(middles) if len(middles) else None
        self.low_voltage_kw = facts.load("grid")["japan"]["connection"]["low_voltage_below_kw"]

    def own_feeder(self) -> int:
        self.next_feeder += 1
        return self.next_feeder - 1

    def near(self, x: float, y: float) -> int:
        return self.own_feeder() if self.tree is None else int(self.tree.query((x, y))[1])

    def allowed(self, stream: Stream, share: float) -> NDArray[np.bool_]:
        lucky = chance(self.seed, stream, np.arange(len(self.fleet))) < share
        return np.asarray(lucky & (self.fleet.kind == Kind.ELECTRIC))

    def node_xy(self, node: int) -> tuple[float, float]:
        return float(self.city.network.node_x[node]), float(self.city.network.node_y[node])

    def homes(self) -> None:
        fleet, feeders = self.fleet, self.feeders
        fleet.home_site[:] = -1
        share = home_access(self.market) if self.settings.home_access is None else self.settings.home_access
        cars = np.flatnonzero(self.allowed(Stream.HOME_ACCESS, share) & (fleet.home_node >= 0))
        place = fleet.home_place[cars]
        feeder = np.where(place >= 0, feeders.home_feeder[place] if len(feeders.home_feeder) else -1, -1)
        at = f"{self.market} home"
        for f, members in _groups(feeder[feeder >= 0], cars[feeder >= 0]):
            self.add_home(members, f, (float(feeders.x[f]), float(feeders.y[f])), f"{at} feeder {f}")
        lone = cars[feeder < 0]
        for node, members in _groups(fleet.home_node[lone], lone):
            self.add_home(members, self.own_feeder(), self.node_xy(node), f"{at} node {node}")

    def add_home(self, cars: NDArray[np.int64], feeder: int, xy: tuple[float, float], name: str) -> None:
        socket = Socket(inlet(self.market), len(cars), self.settings.home_kw)
        node = int(self.fleet.home_node[cars[0]])
        self.fleet.home_site[cars] = self.sites.add(
            SiteKind.HOME, node=node, feeder=feeder, xy=xy, name=name, sockets=[socket]
        )

    def workplaces(self) -> None:
        fleet, city = self.fleet, self.city
        fleet.work_site[:] = -1
        share = work_access(self.market) if self.settings.work_access is None else self.settings.work_access
        cars = np.flatnonzero(self.allowed(Stream.WORK_ACCESS, share) & (fleet.work_node >= 0))
        inside = cars[fleet.work_place[cars] >= 0]
        place = fleet.work_place[inside]
        x, y = city.place_x[place].astype(float), city.place_y[place].astype(float)
        group = cluster(x, y, max(1, int(WORK_SOCKETS * self.settings.work_cars_per_socket)))
        for _, members in _groups(group, np.arange(len(inside))):
            xy = (float(x[members].mean()), float(y[members].mean()))
            self.add_work(inside[members], self.near(*xy), xy)
        lone = cars[fleet.work_place[cars] < 0]
        for node, members in _groups(fleet.work_node[lone], lone):
            xy = self.node_xy(node)
            self.add_work(members, self.near(*xy), xy)

    def add_work(self, cars: NDArray[np.int64], feeder: int, xy: tuple[float, float]) -> None:
        count = math.ceil(len(cars) / self.settings.work_cars_per_socket)
        socket = Socket(inlet(self.market), count, self.settings.work_kw)
        node = int(self.fleet.work_node[cars[0]])
        name = f"workplaces around node {node}"
        self.fleet.work_site[cars] = self.sites.add(
            SiteKind.WORK, node=node, feeder=feeder, xy=xy, name=name, sockets=[socket]
        )

    def stations(self) -> None:
        city = self.city
        for station, name in zip(range(len(city.charger_osm)), city.charger_names, strict=False):
            rows = range(*np.searchsorted(city.socket_charger, [station, station + 1]))
            sockets = [
                Socket(int(city.socket_kind[r]), int(city.socket_count[r]), float(city.socket_kw[r])) for r in rows
            ]
            label = name or f"station {int(city.charger_osm[station])}"
            at = (float(city.charger_x[station]), float(city.charger_y[station]))
            public = bool(city.charger_public[station])
            operator, hours, price = city.said_of_charger(station)
            slots = np.zeros(len(ALWAYS), bool) if hours is not None else ALWAYS
            for begin, end in hours or []:
                slots[begin:end] = True
            for kind, some in _slow_and_fast(sockets):
                self.add_station(
                    kind, int(city.charger_node[station]), at, label, some, open_to_all=public, operator=operator,
                    open_slots=slots, price=math.nan if price is None else price,
                )  # fmt: skip

    def add_station(
        self,
        kind: SiteKind,
        node: int,
        xy: tuple[float, float],
        name: str,
        sockets: list[Socket],
        *,
        open_to_all: bool,
        **more: Any,
    ) -> None:
        large = sum(s.plugs * s.kw for s in sockets) >= self.low_voltage_kw
        named = self.feeders.sites.get(name)
        if named is not None:
            feeder = named
            self.named.add(name)
        else:
            feeder = self.own_feeder() if kind == SiteKind.FAST and large else self.near(*xy)
        self.sites.add(
            kind, node=node, feeder=feeder, xy=xy, name=name, sockets=sockets, open_to_all=open_to_all, **more
        )

    def own_sites(self) -> None:
        """Sites of the scenario's file (`charging.sites`), at the nearest node inside the map."""
        if not self.settings.sites:
            return
        network = self.city.network
        inside = np.setdiff1d(np.arange(network.n_nodes), self.city.outside_node)
        # metres on the tangent plane at the map's middle: enough to find the nearest node
        scale = np.array([math.cos(math.radians(float(network.node_lat[inside].mean()))), 1.0]) * DEGREE_M
        tree = cKDTree(np.column_stack([network.node_lon[inside], network.node_lat[inside]]) * scale)
        for site in read_own_sites(Path(self.settings.sites)):
            away, nearest = tree.query(np.array([site.lon, site.lat]) * scale)
            node = int(inside[nearest])
            if away > FARTHEST_M:
                raise ChargingError(f"{site.place}: site {site.name} is {away / 1000:.1f} km from the nearest street")
            offset = (np.array([site.lon - network.node_lon[node], site.lat - network.node_lat[node]])) * scale
            xy = (float(network.node_x[node] + offset[0]), float(network.node_y[node] + offset[1]))
            for kind, sockets in _slow_and_fast(site.sockets):
                self.add_station(
                    kind, node, xy, site.name, sockets, open_to_all=site.public, cap_kw=site.cap_kw, price=site.price,
                    operator=site.operator, open_slots=np.tile(site.open_slots, 7),
                )  # fmt: skip

    def scenario_sites(self) -> None:
        """Fast sites that the scenario adds: one CHAdeMO and one CCS plug each, spread evenly over the main roads."""
        count, network = self.settings.extra_fast_sites, self.city.network
        if not count:
            return
        mix = facts.load("charging")["japan"]["quick_charger_power_mix_2022"]
        kw = float(mix["kw"][int(np.argmax(mix["share"]))])
        streets = ~network.has(OUTSIDE)
        links = np.flatnonzero(streets & np.isin(network.link_class, MAIN_ROADS))
        if not len(links):  # a map of small streets: take the highest class it has
            links = (
                np.flatnonzero(network.link_class == network.link_class[streets].min())
                if streets.any()
                else np.arange(network.n_links)
            )
        nodes = np.unique(network.link_from[links])
        x, y = network.node_x[nodes], network.node_y[nodes]
        group = split(x, y, min(count, len(nodes)))
        middle = []
        for g in range(group.max() + 1):
            rows = np.flatnonzero(group == g)
            off = np.hypot(x[rows] - x[rows].mean(), y[rows] - y[rows].mean())
            middle.append(int(nodes[rows[np.argmin(off)]]))
        for i in range(count):
            node = middle[i % len(middle)]
            plugs = [Socket(CHADEMO, 1, kw), Socket(CCS, 1, kw)]
            self.add_station(SiteKind.FAST, node, self.node_xy(node), f"scenario fast {i + 1}", plugs, open_to_all=True)
