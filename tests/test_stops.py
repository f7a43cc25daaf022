"""Charging stops on the way: options by real roads against a search of another program, and cars that turn off."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from maps.network import RoadNetwork
from maps.toy import toy_city
from twin.agents import DIRECT, ElectricCar, TripQuestion
from twin.charging.site import SiteKind
from twin.fleet.fleet import Kind, State
from twin.model import Twin
from twin.settings import ChargingSettings, DemandSettings, FleetSettings, TrafficSettings
from twin.stops import SITES

CITY = toy_city(8, homes=200, rings_km=(2.0,))
HOUR = 3600


def build(agents: dict[Kind, type[ElectricCar]] | None = None, *, soc: float, **charging: Any) -> Twin:
    """Electric cars without sockets of their own, all with the same charge."""
    twin = Twin(
        CITY,
        until_s=16 * HOUR,
        fleet=FleetSettings(cars=120, bev=1.0, epower=0.0, connected=0.0),
        demand=DemandSettings(other_traffic=0.0, moving=1.0),
        traffic=TrafficSettings(tick_s=60),
        charging=ChargingSettings(home_access=0.0, work_access=0.0, extra_fast_sites=8, **charging),
        agents=agents or {},
    )
    fleet = twin.world.fleet
    fleet.battery_j[:] = np.rint(soc * fleet.capacity_j).astype(np.int64)
    twin.world.battery_start_j = fleet.battery_j.copy()
    twin.world.drive.open_books()
    return twin


def line_times_s(network: RoadNetwork, free_ms: np.ndarray) -> np.ndarray:
    """Least time between all links' ends, turns respected: seconds from the end of link i to the end of link j."""
    from twin.traffic.routing import turns

    ptr, onto = turns(network)
    start = np.repeat(np.arange(network.n_links), np.diff(ptr))
    graph = csr_matrix((free_ms[onto].astype(float), (start, onto)), shape=(network.n_links,) * 2)
    return dijkstra(graph) / 1000


def node_time_s(network: RoadNetwork, free_ms: np.ndarray, table: np.ndarray, a: int, b: int) -> float:
    """Least time between nodes."""
    if a == b:
        return 0.0
    first, last = np.flatnonzero(network.link_from == a), np.flatnonzero(network.link_to == b)
    return float((free_ms[first][:, None] / 1000 + table[np.ix_(first, last)]).min())


def test_detours_are_those_of_another_search():
    twin = build(soc=0.3)
    for _ in range(6 * 60):
        twin.step()
    world = twin.world
    network, free_ms, node = world.city.network, world.streets.physics.free_ms, world.charging.sites.site_node
    table = line_times_s(network, free_ms)
    rows = np.flatnonzero(world.fleet.state == State.PARKED)[:12]
    goal = np.roll(world.fleet.node[rows], 1)
    rows, goal = rows[goal != world.fleet.node[rows]], goal[goal != world.fleet.node[rows]]
    world.route_choice.cost_ms = free_ms.copy()
    routes = world.route_choice.routes(world.fleet.node[rows], goal, np.zeros(len(rows), np.int64), 0)
    world.fleet.battery_j[rows] = world.fleet.capacity_j[rows] // 4
    nobody, direct = np.full(len(rows), -1, np.int32), np.zeros(len(rows), bool)
    asked = world.stops.question(rows, goal, routes, avoid=nobody, led=direct, now_ms=world.now_ms)
    assert asked.site.shape == (len(rows), SITES) and not asked.driving.any()
    checked = 0
    for i, row in enumerate(rows.tolist()):
        a, b = int(world.fleet.node[row]), int(goal[i])
        shown = asked.site[i][asked.site[i] >= 0].tolist()
        assert len(set(shown)) == len(shown)
        for k, site in enumerate(shown):
            by = int(node[site])
            to, on, straight = (node_time_s(network, free_ms, table, *pair) for pair in ((a, by), (by, b), (a, b)))
            assert asked.detour_s[i, k] == pytest.approx(max(to + on - straight, 0.0), abs=1e-6)
            assert (asked.reach_j[i, k] > 0) == (a != by)
            checked += 1
        fits = [s for s in world.charging.sites.rows(SiteKind.FAST) if world.charging.choice.sockets(row, int(s))]
        ways = [(a, int(node[s]), b) for s in fits]
        best = min(sum(node_time_s(network, free_ms, table, *leg) for leg in (w[:2], w[1:])) for w in ways)
        best -= node_time_s(network, free_ms, table, a, b)
        assert asked.detour_s[i][asked.site[i] >= 0].min() <= best + 60
    assert checked > 20


class Optimist(ElectricCar):
    """Sets out whatever the battery says; looks for a site on the road."""

    @classmethod
    def decide(cls, question):  # type: ignore[no-untyped-def]
        answer = super().decide(question)
        if isinstance(question, TripQuestion):
            return np.where(question.driving, answer, DIRECT)
        return np.zeros(len(question.rows), bool)


class Reckless(Optimist):
    """Never looks."""

    @classmethod
    def decide(cls, question):  # type: ignore[no-untyped-def]
        if isinstance(question, TripQuestion):
            return np.full(len(question.rows), DIRECT)
        return super().decide(question)


def lived(mind: type[ElectricCar], **charging: Any) -> Twin:
    twin = build({Kind.ELECTRIC: mind}, soc=0.03, **charging)
    while not twin.world.done:
        twin.step()
    twin.world.finish()
    assert not {name: value for name, value in twin.world.ledger().items() if value}
    return twin


def test_who_will_not_get_there_turns_off_to_a_site_and_goes_on():
    looks, never = lived(Optimist), lived(Reckless)
    stuck = [int((twin.world.fleet.state == State.STUCK).sum()) for twin in (looks, never)]
    assert never.world.stops.diverted == 0 and looks.world.stops.diverted > 20
    assert stuck[0] < 0.5 * stuck[1] and stuck[1] > 10
    trips = looks.world.trips.table
    stopped = (trips["charging_stops"].astype(int) > 0) & (trips["status"] == "arrived")
    assert stopped.sum() > 20
    assert looks.world.summary()["queue"]["diverted"] == looks.world.stops.diverted


def test_a_socket_is_held_for_who_turns_off():
    held = lived(Optimist, reserve_min=30.0)
    assert held.world.charging.reservations.made > 10
