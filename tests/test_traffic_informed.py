"""Informed drivers: who is one, when they switch, and that nothing is lost or illegal on the other way."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maps.network import RoadNetwork
from maps.toy import grid, toy_city
from twin.checkpoint import capture, fingerprint, restore
from twin.model import Twin
from twin.settings import DemandSettings, FleetSettings, TrafficSettings
from twin.traffic.engine import Streets, TrafficError
from twin.traffic.informed import InformedDrivers
from twin.traffic.routing import Router, turns
from twin.traffic.traversals import Traversals


def town() -> RoadNetwork:
    """Three by three nodes, 300 m apart."""
    return grid(3, 3, length_m=300.0, speed_kmh=50.0)


def link(network: RoadNetwork, a: int, b: int) -> int:
    return int(np.flatnonzero((network.link_from == a) & (network.link_to == b))[0])


class Day:
    """Cars every 4 s from one node to another, all on the same first route, with a bottleneck on it from the start."""

    def __init__(
        self, share: float, *, gain: float = 0.1, bans: tuple[list[int], list[int]] = ([], []), cars: int = 120
    ):
        how = TrafficSettings(informed=share, inform_s=60, switch_gain=gain)
        self.network = network = replace(
            town(), ban_from=np.array(bans[0], np.int32), ban_to=np.array(bans[1], np.int32)
        )
        self.streets = streets = Streets(network, how, cars)
        self.router = Router(network, streets.physics.free_ms)
        self.drivers = InformedDrivers(streets, self.router, how, seed=1)
        # along the lower edge, 0-1-2, then up to 8; the block is on 1-2
        way = [link(network, a, b) for a, b in ((0, 1), (1, 2), (2, 5), (5, 8))]
        self.way, self.blocked = way, way[1]
        streets._links["headway_us"][self.blocked] = 60_000_000  # one car a minute instead of one in two seconds
        streets.depart(
            np.arange(cars), np.arange(cars) * 4000, np.arange(cars + 1) * 4, np.tile(way, cars).astype(np.int32)
        )
        self.drivers.begin(np.arange(cars), np.arange(cars))
        self.arrive_ms = np.full(cars, -1, np.int64)
        self.last = np.full(cars, -1)
        self.paths: list[list[int]] = [[] for _ in range(cars)]
        rows = Traversals(8)
        for t in range(60_000, 6 * 3_600_000, 60_000):
            gone = streets.advance(t, rows)
            self.arrive_ms[gone.vehicle] = gone.at_ms
            for car, road in zip(rows.car[: rows.n].tolist(), rows.link[: rows.n].tolist(), strict=True):
                self.paths[car].append(road)
            assert streets.census() == streets.on_road + streets.in_source
            self.drivers.look(t)
            if (self.arrive_ms >= 0).all():
                break
        self.took_s = (self.arrive_ms - np.arange(cars) * 4000) / 1000


def test_nobody_is_informed_by_default() -> None:
    assert TrafficSettings().informed == 0
    day = Day(0.0)
    assert (day.drivers.compared, day.drivers.switched) == (0, 0)
    assert all(path == day.way for path in day.paths)
    assert day.took_s.max() > 100 * 60  # one car a minute


def test_informed_drivers_leave_the_queue_before_a_bottleneck() -> None:
    nobody, everybody = Day(0.0), Day(1.0)
    assert (everybody.arrive_ms >= 0).all()
    round_it = sum(day_path != everybody.way for day_path in everybody.paths)
    assert everybody.drivers.switched >= round_it > 80
    assert everybody.took_s.mean() < nobody.took_s.mean() / 5
    # every way is one: link after link from 0 to 8, no turning round
    follow, onto = turns(everybody.network)
    for path in everybody.paths:
        assert everybody.network.link_from[path[0]] == 0 and everybody.network.link_to[path[-1]] == 8
        for a, b in zip(path[:-1], path[1:], strict=True):
            assert b in onto[follow[a] : follow[a + 1]]


def test_a_forbidden_turn_is_not_taken_to_get_round() -> None:
    net = town()
    up = link(net, 1, 4)
    day = Day(1.0, bans=([link(net, 0, 1)], [up]))
    # the only way round for a car on 0-1 would be that turn, or round the block: nobody takes it
    assert not any(up in path[1:2] for path in day.paths)
    assert any(up in path[1:2] for path in Day(1.0).paths)


def test_more_informed_drivers_only_adds_some() -> None:
    few, many = Day(0.3), Day(0.8)
    mine = few.drivers._is_informed
    assert 0.15 < mine[:120].mean() < 0.45
    assert not np.any(mine & ~many.drivers._is_informed)
    assert not any(path != few.way for path, informed in zip(few.paths, mine.tolist(), strict=False) if not informed)


def test_a_small_gain_is_not_worth_a_switch() -> None:
    assert Day(1.0, gain=1.0).drivers.switched == 0


def test_the_same_run_twice() -> None:
    a, b = Day(0.5), Day(0.5)
    assert np.array_equal(a.arrive_ms, b.arrive_ms) and a.paths == b.paths


def test_the_whole_twin_with_informed_drivers() -> None:
    """Fleet and other traffic compare; books close, and a trip is never faster than its last route on empty streets."""
    rooms = {"fleet": FleetSettings(cars=80), "demand": DemandSettings(other_traffic=2.0)}
    traffic = TrafficSettings(informed=1.0, inform_s=60, switch_gain=0.0)
    twin = Twin(toy_city(6, homes=80), traffic=traffic, until_s=9 * 3600, **rooms)
    while not twin.world.done:
        twin.step()
    twin.world.finish()
    told = twin.world.summary()["traffic"]
    assert told["informed_comparisons"] > told["informed_switches"] > 0
    assert told["informed_hours_promised"] > 0
    trips = twin.world.trips.table
    there = trips["status"] == "arrived"
    assert there.sum() > 20
    assert np.all((trips["arrive_s"] - trips["depart_s"])[there] >= trips["free_s"][there] - 1e-3)
    assert not any(twin.world.ledger().values())


def test_a_restored_run_switches_and_learns_alike() -> None:
    """Who is informed, what they saw and what was learned are part of a checkpoint, or are built again."""

    def made() -> Twin:
        how = TrafficSettings(informed=0.5, inform_s=60, switch_gain=0.0, days_of_learning=1, reroute_s=300)
        rooms = {"fleet": FleetSettings(cars=30), "demand": DemandSettings(other_traffic=1.0)}
        return Twin(toy_city(5, homes=40), traffic=how, until_s=9 * 3600, **rooms)

    def ended(twin: Twin) -> tuple[dict[str, object], list[float]]:
        while not twin.world.done:
            twin.step()
        twin.world.finish()
        return twin.world.summary()["traffic"], twin.world.links.table["travel_time_s"].tolist()

    first, second = made(), made()
    as_built = fingerprint(first)
    while first.world.now_ms < 7 * 3_600_000:
        first.step()
    state = capture(first, as_built)
    rows = {name: {column: table[column].copy() for column in table} for name, table in state.tables.items()}
    restore(second, replace(state, tree=deepcopy(state.tree), arrays=[part.copy() for part in state.arrays]), rows)
    (told, times), (again, times_again) = ended(first), ended(second)
    assert told == again and told["informed_switches"] > 0
    np.testing.assert_array_equal(times, times_again)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), signals=st.booleans(), length=st.sampled_from([9.0, 40.0]))
def test_nobody_is_lost_however_often_they_switch(seed: int, signals: bool, length: float) -> None:
    """Jammed streets, heads of queues diverted every few seconds: counts hold, ends are the ones wanted."""
    rng = np.random.default_rng(seed)
    how = TrafficSettings(informed=1.0, switch_gain=0.0, gridlock_s=20)
    net = grid(3, 4, length_m=length, signals=signals)
    cars = 120
    streets = Streets(net, how, cars)
    router = Router(net, streets.physics.free_ms)
    start, goal = rng.integers(net.n_nodes, size=(2, cars))
    goal = np.where(start == goal, (goal + 1) % net.n_nodes, goal)
    routes = router.routes(start, goal, streets.physics.free_ms)
    streets.depart(np.arange(cars), rng.integers(0, 20_000, cars), routes.ptr, routes.links)
    drivers = InformedDrivers(streets, router, how, seed=seed)
    drivers.begin(np.arange(cars), np.arange(cars))
    rows, last, gone = Traversals(8), np.full(cars, -1), 0
    for t in range(7000, 4_000_000, 7000):
        gone += len(streets.advance(t, rows).vehicle)
        last[rows.car[: rows.n]] = rows.link[: rows.n]
        drivers.look(t)
        assert streets.census() == streets.on_road + streets.in_source
        if gone == cars:
            break
    assert gone == cars
    assert np.array_equal(net.link_to[last], goal)


def test_only_vehicles_that_have_departed_can_be_given_another_way() -> None:
    net = town()
    streets = Streets(net, TrafficSettings(), 2)
    one, other = link(net, 0, 1), link(net, 1, 2)
    streets.depart([0], [0], np.array([0, 2]), np.array([one, other], np.int32))
    with pytest.raises(TrafficError, match="has not departed"):
        streets.divert([0], 0, np.array([0, 1]), np.array([one], np.int32))
    with pytest.raises(TrafficError, match="has not departed"):
        streets.divert([1], 1000, np.array([0, 1]), np.array([one], np.int32))
    streets.advance(1000, Traversals())
    with pytest.raises(TrafficError, match="begins elsewhere"):
        streets.divert([0], 1000, np.array([0, 1]), np.array([other], np.int32))
    with pytest.raises(TrafficError, match="gap after"):
        streets.divert([0], 1000, np.array([0, 2]), np.array([one, one], np.int32))
