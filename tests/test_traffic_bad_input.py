"""What the streets and the routes cannot take is refused or counted with its reason; nothing is lost, nothing loops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from maps.network import MapError
from maps.toy import corridor, grid, toy_city
from twin.model import Twin
from twin.settings import DemandSettings, FleetSettings, TrafficSettings
from twin.traffic.engine import LinkPhysics, Streets, TrafficError
from twin.traffic.routing import Router
from twin.traffic.traversals import Traversals

LINK = np.array([0, 1]), np.array([0], np.int32)


@pytest.mark.parametrize("bad", [0.0, -5.0, np.nan, np.inf])
@pytest.mark.parametrize("column", ["link_length", "link_speed"])
def test_a_link_without_length_or_speed_is_no_network(column: str, bad: float) -> None:
    road = corridor(3)
    values = getattr(road, column).copy()
    values[1] = bad
    words = f"{column} of link 1 is not above 0" if np.isfinite(bad) else f"{column} holds a number that is not finite"
    with pytest.raises(MapError, match=words):
        replace(road, **{column: values})


def test_a_link_without_lanes_or_capacity_is_refused() -> None:
    road = corridor(3)
    with pytest.raises(MapError, match="link_lanes of link 2 is not above 0"):
        replace(road, link_lanes=np.array([1, 1, 0], np.uint8))
    for bad in (0.0, -1.0, np.nan):
        with pytest.raises(TrafficError, match="above 0"):
            LinkPhysics.of(road, TrafficSettings(), saturation_lanes=np.array([1.0, bad, 1.0]))


def test_departures_before_the_start_or_in_the_past_are_refused() -> None:
    streets = Streets(corridor(3), TrafficSettings(), 3)
    with pytest.raises(TrafficError, match="vehicle 0 departs before 0 ms"):
        streets.depart([0], [-1], *LINK)
    streets.advance(60_000, Traversals())
    with pytest.raises(TrafficError, match="vehicle 2 departs before 60000 ms"):
        streets.depart([1, 2], [60_000, 59_999], np.array([0, 1, 2]), np.array([0, 0], np.int32))
    assert streets.census() == 0
    streets.depart([1], [60_000], *LINK)  # the very moment is in time
    assert streets.advance(120_000, Traversals()).vehicle.tolist() == [1]


@pytest.mark.parametrize(
    ("links", "words"),
    [([0, 2], "gap after link 0"), ([0, 3], "link 3, which is not there"), ([-1], "link -1"), ([], "empty route")],
)
def test_routes_with_gaps_or_strange_links_are_refused_and_leave_no_trace(links: list[int], words: str) -> None:
    streets = Streets(corridor(3), TrafficSettings(), 1)
    with pytest.raises(TrafficError, match=words):
        streets.depart([0], [0], np.array([0, len(links)]), np.array(links, np.int32))
    streets.depart([0], [0], np.array([0, 3]), np.arange(3, dtype=np.int32))
    assert streets.advance(3_600_000, Traversals()).vehicle.tolist() == [0]


def test_demand_far_over_capacity_waits_and_is_served_at_capacity() -> None:
    """20,000 cars want into one lane in a minute: all are on the books at any time, and leave at capacity."""
    settings = TrafficSettings()
    road = corridor(2, length_m=200.0, speed_kmh=50.0)
    streets = Streets(road, settings, 0)
    n = 20_000
    rows = streets.rows_for(n)
    streets.depart(rows, np.arange(n) * 3, np.arange(n + 1) * 2, np.tile([0, 1], n).astype(np.int32))
    gone = 0
    for hour in range(1, 4):
        gone += len(streets.advance(hour * 3_600_000, Traversals()).vehicle)
        assert gone + streets.on_road + streets.in_source == n == gone + streets.census()
        served = hour * 3600 / (settings.tau_s + settings.spacing_m / (50 / 3.6))
        assert gone == pytest.approx(served, rel=0.01, abs=20)
    assert streets.in_source > 10_000


def test_gridlock_far_over_capacity_ends() -> None:
    """A small town that is asked for ten times what it holds: rings turn, counted, and the last car arrives."""
    town = grid(3, 3, length_m=20.0)
    free = LinkPhysics.of(town, TrafficSettings()).free_ms
    rng = np.random.default_rng(1)
    start, goal = rng.integers(9, size=(2, 900))
    routes = Router(town, free).routes(start, goal, free)
    routes = routes.only(routes.found)
    n = len(routes.status)
    streets = Streets(town, TrafficSettings(gridlock_s=10), n)
    streets.depart(np.arange(n), np.zeros(n, int), routes.ptr, routes.links)
    gone = sum(len(streets.advance(t, Traversals()).vehicle) for t in range(600_000, 72_000_001, 600_000))
    assert gone == n and streets.census() == 0


def test_unreachable_places_are_refused_with_the_reason_and_counted() -> None:
    """Every turn towards the busiest place is forbidden: who lives elsewhere has no route there."""
    city = toy_city(6, homes=120)
    net = city.network
    nodes, counts = np.unique(city.place_node[city.place_kind > 0], return_counts=True)
    goal = int(nodes[np.argmax(counts)])
    pairs = [
        (before, into)
        for into in np.flatnonzero(net.link_to == goal).tolist()
        for before in np.flatnonzero(net.link_to == net.link_from[into]).tolist()
    ]
    bans = np.array(pairs, np.int32).T
    closed = replace(city, network=replace(net, ban_from=bans[0], ban_to=bans[1]))
    twin = Twin(closed, fleet=FleetSettings(cars=250), demand=DemandSettings(other_traffic=0.1), until_s=10 * 3600)
    while not twin.world.done:
        twin.step()
    twin.world.finish()
    trips = twin.world.trips.table
    refused = trips["status"] == "refused"
    assert refused.sum() >= 3
    assert set(trips["reason"][refused]) == {"no_route"}
    assert np.isnan(trips["depart_s"][refused].astype(float)).all()
    told = twin.world.summary()
    assert told["fleet"]["refused"] == refused.sum()
    assert told["traffic"]["other_unroutable"] > 0
    assert len(trips) == twin.world.trips.planned
    assert not any(twin.world.ledger().values())
