"""Who gives way at junctions of the map: crossings drawn by hand, every movement answered in the head."""

from __future__ import annotations

import numpy as np
import pytest

from maps.draft import draft_of
from maps.network import ROAD_CLASSES, ROUNDABOUT, SIGNALS, RoadNetwork
from maps.toy import grid, ring
from tests.traffic_runs import drive
from twin.settings import TrafficSettings
from twin.traffic.right_of_way import right_of_way

PRIORITY = TrafficSettings(junctions="priority")
EAST, NORTH, WEST, SOUTH = range(4)


def cross(
    *, main: str = "secondary", side: str = "residential", control: int = 0, legs: int = 4, flags: int = 0
) -> RoadNetwork:
    """Two-way legs of 200 m to the east, north, west and south of node `legs`; the main road runs east to west."""
    x, y = [200.0, 0.0, -200.0, 0.0][:legs], [0.0, 200.0, 0.0, -200.0][:legs]
    kind = [ROAD_CLASSES.index(main if leg in (EAST, WEST) else side) for leg in range(legs)]
    outer = list(range(legs))
    return draft_of(
        x=[*x, 0.0], y=[*y, 0.0], link_from=outer + [legs] * legs, link_to=[legs] * legs + outer, length_m=200.0,
        speed_mps=10.0, lanes=1, road_class=np.array(kind * 2), flags=flags,
        control=np.array([0] * legs + [control], np.uint8),
    ).finish()  # fmt: skip


def rules(road: RoadNetwork, *, left_hand: bool = False) -> set[tuple[int, int, int, int]]:
    """(from leg, to leg) gives way to (from leg, to leg), as four legs."""
    rule = right_of_way(road, PRIORITY, left_hand=left_hand)
    begin, end = road.link_from, road.link_to
    rows = zip(rule.link, rule.mine, rule.foe, rule.onto, strict=True)
    return {(int(begin[a]), int(end[b]), int(begin[c]), int(end[d])) for a, b, c, d in rows}


def mirrored(found: set[tuple[int, int, int, int]]) -> set[tuple[int, ...]]:
    """The same junction in a mirror: east and west change places."""
    return {tuple({EAST: WEST, WEST: EAST}.get(leg, leg) for leg in row) for row in found}


def test_the_side_road_gives_way_to_all_it_meets() -> None:
    found = rules(cross())
    straight = {row[2:] for row in found if row[:2] == (SOUTH, NORTH)}
    # going straight on it meets both streams of the main road, and those of it that turn across or into its way
    assert straight == {(EAST, WEST), (WEST, EAST), (EAST, SOUTH), (EAST, NORTH), (WEST, NORTH)}
    # to the near side it meets only the lane it joins
    assert {row[2:] for row in found if row[:2] == (SOUTH, EAST)} == {(WEST, EAST)}
    # the main road waits nowhere but where it turns across the oncoming lane
    main = {row for row in found if row[0] in (EAST, WEST)}
    assert main == {
        (EAST, SOUTH, WEST, EAST), (EAST, SOUTH, WEST, SOUTH), (WEST, NORTH, EAST, WEST), (WEST, NORTH, EAST, NORTH),
    }  # fmt: skip
    # of two on the side road, who turns across waits for the other
    assert {row for row in found if row[0] in (NORTH, SOUTH) and row[2] in (NORTH, SOUTH)} == {
        (NORTH, EAST, SOUTH, NORTH), (NORTH, EAST, SOUTH, EAST),
        (SOUTH, WEST, NORTH, SOUTH), (SOUTH, WEST, NORTH, WEST),
    }  # fmt: skip


def test_left_hand_traffic_is_the_mirror_image() -> None:
    for road in (cross(), cross(side="secondary"), cross(legs=3)):
        # three legs are the same in the mirror, too
        assert rules(road, left_hand=True) == mirrored(rules(road)) != rules(road)


def test_among_equals_the_near_side_goes_first() -> None:
    found = rules(cross(main="residential"))
    # from the south, the right is the east
    assert (SOUTH, NORTH, EAST, WEST) in found and (EAST, WEST, SOUTH, NORTH) not in found
    assert (WEST, EAST, SOUTH, NORTH) in found and (SOUTH, NORTH, WEST, EAST) not in found


def test_signals_leave_only_turns_across() -> None:
    found = rules(cross(control=SIGNALS))
    assert {(row[0], row[1]) for row in found} == {(EAST, SOUTH), (WEST, NORTH), (NORTH, EAST), (SOUTH, WEST)}
    assert all(row[2] == (row[0] + 2) % 4 for row in found)


def test_motorways_and_plain_bends_have_no_rule() -> None:
    assert not rules(cross(main="motorway", side="motorway_link"))
    assert not rules(ring(6))
    off = right_of_way(cross(), TrafficSettings())
    assert len(off.link) == 0 and off.follow_up_s is None


def test_gaps_are_those_of_the_facts() -> None:
    road = cross()
    rule = right_of_way(road, PRIORITY)
    leg = road.link_from[rule.link], road.link_to[rule.mine]
    gap = {(int(a), int(b)): float(s) for a, b, s in zip(*leg, rule.gap_s, strict=True)}
    assert gap[SOUTH, EAST] == 6.2 and gap[SOUTH, NORTH] == 6.5 and gap[SOUTH, WEST] == 7.1 and gap[EAST, SOUTH] == 4.1
    # follow-up of the movements of a leg, in the mean: near side, straight on, across
    follow = rule.follow_up_s[[int(np.flatnonzero(road.link_from == leg)[0]) for leg in (SOUTH, EAST)]]
    assert follow == pytest.approx([(3.3 + 4.0 + 3.5) / 3, 0.0])


def test_who_enters_a_roundabout_gives_way() -> None:
    # a ring of four links and a road that joins it at node 0
    x, y = [50.0, 0.0, -50.0, 0.0, 150.0], [0.0, 50.0, 0.0, -50.0, 0.0]
    road = draft_of(
        x=x, y=y, link_from=[0, 1, 2, 3, 4, 0], link_to=[1, 2, 3, 0, 0, 4], length_m=80.0, speed_mps=8.0, lanes=1,
        road_class=ROAD_CLASSES.index("tertiary"), flags=np.array([ROUNDABOUT] * 4 + [0, 0]),
    ).finish()  # fmt: skip
    rule = right_of_way(road, PRIORITY)
    rows = zip(road.link_from[rule.link], road.link_to[rule.mine], road.link_from[rule.foe], rule.gap_s, strict=True)
    assert list(rows) == [(4, 1, 3, 5.2)]


def test_cars_of_the_side_road_wait_for_a_gap() -> None:
    road = cross()
    at = {(int(a), int(b)): i for i, (a, b) in enumerate(zip(road.link_from, road.link_to, strict=True))}
    through = [[at[WEST, 4], at[4, EAST]]] * 20
    # the main road's cars come every 5 s, less than the gap of 6.5 s; after 41.5 s of patience it has shrunk to that
    routes = [*through, [at[SOUTH, 4], at[4, NORTH]]]
    depart = np.append(np.arange(20) * 5.0, 1.0)  # it is at the line at 21 s
    assert drive(road, routes, depart, until_s=300).arrive_ms[-1] == 41_000
    record = drive(road, routes, depart, until_s=300, settings=PRIORITY)
    assert record.arrive_ms[-1] == 65_001 + 20_000
    assert np.array_equal(record.arrive_ms[:-1], drive(road, routes, depart, until_s=300).arrive_ms[:-1])


def test_a_town_of_give_way_junctions_does_not_lock_up() -> None:
    rng = np.random.default_rng(4)
    town = grid(5, 5, length_m=90.0)
    routes = []
    for _ in range(600):
        links = [int(rng.integers(town.n_links))]
        for _ in range(8):
            node = town.link_to[links[-1]]
            onward = np.arange(town.out_ptr[node], town.out_ptr[node + 1])
            links.append(int(rng.choice(onward[town.link_to[onward] != town.link_from[links[-1]]])))
        routes.append(links)
    record = drive(town, routes, rng.random(600) * 900, until_s=5000, settings=PRIORITY)
    assert (record.arrive_ms >= 0).all()
    assert record.streets.rings_turned == (0, 0)
