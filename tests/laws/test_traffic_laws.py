"""Laws of the streets that hold for any network, route and departure."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from maps.toy import corridor, grid
from tests.traffic_reference import Car, Link, Reference
from tests.traffic_runs import drive
from twin.settings import TrafficSettings
from twin.traffic.engine import HORIZON_MS, Streets, TrafficError
from twin.traffic.right_of_way import RightOfWay, right_of_way
from twin.traffic.signals import SignalPlan, signal_plan
from twin.traffic.traversals import Traversals


def walks(town, rng, count, longest):  # type: ignore[no-untyped-def]
    routes = []
    for _ in range(count):
        links = [int(rng.integers(town.n_links))]
        for _ in range(int(rng.integers(1, longest))):
            node = town.link_to[links[-1]]
            links.append(int(rng.integers(town.out_ptr[node], town.out_ptr[node + 1])))
        routes.append(links)
    return routes


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), signals=st.booleans(), length=st.sampled_from([9.0, 30.0, 120.0]))
def test_everyone_arrives_on_time_and_in_order(seed: int, signals: bool, length: float) -> None:
    rng = np.random.default_rng(seed)
    town = grid(3, 4, length_m=length, signals=signals)
    routes = walks(town, rng, 150, 20)
    depart = np.round(rng.random(150) * 60, 3)
    record = drive(town, routes, depart, until_s=40_000, tick_s=300, settings=TrafficSettings(gridlock_s=5))
    # nobody is lost, even where random walks lock the town up
    assert (record.arrive_ms >= 0).all() and record.streets.on_road == 0
    assert len(record.car) == sum(len(r) for r in routes)
    # each car drives its own route, link after link, never faster than free flow
    free = record.streets.physics.free_ms
    assert np.all(record.exit_ms - record.enter_ms >= free[record.link])
    for car in (0, 70, 149):
        mine = record.car == car
        assert record.link[mine].tolist() == routes[car]
        assert np.array_equal(record.enter_ms[mine][1:], record.exit_ms[mine][:-1])
        assert record.enter_ms[mine][0] >= np.rint(depart[car] * 1000)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_storage_is_never_exceeded(seed: int) -> None:
    rng = np.random.default_rng(seed)
    town = grid(3, 3, length_m=40.0)
    streets = Streets(town, TrafficSettings(), 200)
    routes = walks(town, rng, 200, 25)
    ptr = np.concatenate([[0], np.cumsum([len(r) for r in routes])])
    streets.depart(np.arange(200), np.zeros(200, int), ptr, np.concatenate(routes).astype(np.int32))
    room = np.floor(streets.physics.storage + 1e-9)
    for t in range(1000, 200_000, 1000):
        streets.advance(t, Traversals())
        assert np.all(streets.link_vehicles <= room)


def plan_and_rule(town, settings, rng):  # type: ignore[no-untyped-def]
    """The map's own signals and rights of way, or windows and conflicts that no map would have."""
    if rng.random() < 0.4:
        return signal_plan(town, settings), right_of_way(town, settings)
    rows = []
    for link in np.flatnonzero(rng.random(town.n_links) < 0.3):
        cycle = int(rng.integers(2_000, 120_000))
        cuts = np.sort(rng.choice(cycle, 4, replace=False))
        rows += [(link, cycle, *cuts[:2]), (link, cycle, *cuts[2:])][: rng.integers(1, 3)]
        if rng.random() < 0.3:
            rows[-1] = (link, cycle, cuts[2], cuts[2] + cycle // 3)
            rows = [row for row in rows if row[0] != link or row == rows[-1]]
    link = np.repeat(np.flatnonzero(rng.random(town.n_links) < 0.4), 3)
    foe, mine, onto = rng.integers(0, town.n_links, (3, len(link)))
    anyone = rng.random((2, len(link))) < 0.6
    rule = RightOfWay(
        link, np.where(anyone[0], -1, mine), foe, np.where(anyone[1], -1, onto),
        rng.integers(0, 3, len(link)) * 1.5, rng.integers(0, 9, len(link)) * 1.0,
        follow_up_s=rng.random(town.n_links) * 6, merge_weight=rng.uniform(0.1, 5, town.n_links),
        patience_s=float(rng.integers(1, 200)),
    )  # fmt: skip
    return SignalPlan(*np.array(rows, np.int64).reshape(-1, 4).T), rule


def reference(town, routes, depart_ms, gaps, paces, sizes, settings, plan, rule) -> Reference:  # type: ignore[no-untyped-def]
    physics = Streets(town, settings, 0).physics
    whole = np.floor(physics.storage + 1e-9)
    permille = np.clip(np.rint((physics.storage - whole) * 1000), 0, 999)
    columns = (physics.free_ms, physics.headway_us, whole, permille, physics.wave_ms)
    links = [Link(*row) for row in zip(*(np.asarray(c, int).tolist() for c in columns), strict=True)]
    for link, cycle, start, stop in zip(plan.link, plan.cycle_ms, plan.start_ms, plan.stop_ms, strict=True):
        links[link].cycle_ms = int(cycle)
        links[link].greens.append((int(start), int(stop)))
    if settings.signals == "share":
        for link, share in zip(links, plan.green_share(len(links)), strict=True):
            link.stretch_permille, link.greens = min(int(np.rint(1000 / share)), 1_000_000), []  # as `signals.py` says
    rows = zip(rule.link, rule.mine, rule.foe, rule.onto, rule.lag_s, rule.gap_s, strict=True)
    for link, mine, foe, onto, lag, gap in rows:
        links[link].foes.append((int(mine), int(foe), int(onto), round(lag * 1000), round(gap * 1000)))
        links[link].patience_ms = round(rule.patience_s * 1000)
    lane_us = physics.headway_us * town.link_lanes
    if rule.follow_up_s is not None:
        for link, follow, lane in zip(links, rule.follow_up_s, lane_us, strict=True):
            stretch = np.rint(follow * 1e9 / lane)
            link.stretch_permille = min(int(link.stretch_permille * (max(stretch, 1000) / 1000)), 1_000_000)
    turn = physics.headway_us if rule.merge_weight is None else np.rint(physics.headway_us / rule.merge_weight)
    weight = np.concatenate([turn, lane_us]).astype(int).tolist()
    cars = [Car(list(map(int, r)), *c) for r, *c in zip(routes, depart_ms, gaps, paces, sizes, strict=True)]
    return Reference(links, weight, cars, ring_ms=settings.gridlock_s * 1000)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    signals=st.booleans(),
    length=st.sampled_from([7.5, 9.0, 31.0, 120.0, 700.0]),
    tick_s=st.sampled_from([7, 60, 5000]),
)
@example(seed=704, signals=False, length=7.5, tick_s=7)  # a green of a few milliseconds
def test_every_exit_is_that_of_the_plain_rules(seed: int, signals: bool, length: float, tick_s: int) -> None:
    rng = np.random.default_rng(seed)
    town = grid(2, 3, length_m=length, signals=signals, lanes=int(rng.integers(1, 3)))
    cars, until_s = 60, 5000
    # cycles beyond the near part of the event queue, too
    how = TrafficSettings(
        gridlock_s=int(rng.integers(1, 60)),
        signal_cycle_s=int(rng.choice([40, 90, 250])),
        signals=str(rng.choice(["fixed", "share"])),
        junctions=str(rng.choice(["capacity", "priority"])),
    )
    plan, rule = plan_and_rule(town, how, rng)
    routes = walks(town, rng, cars, 25)
    # cars alike that start at whole seconds meet in the same millisecond all the time
    step = int(rng.choice([1, 1000, 5000]))
    depart_ms = (rng.integers(0, 60_000, cars) // step * step).tolist()
    gaps, paces = rng.integers(700, 1500, cars), rng.integers(900, 1300, cars)
    gaps, paces = [np.where(step > 1, 1000, x).tolist() for x in (gaps, paces)]
    sizes = np.where(rng.random(cars) < rng.choice([0, 0.3]), rng.integers(1000, 3000, cars), 1000).tolist()
    plain = reference(town, routes, depart_ms, gaps, paces, sizes, how, plan, rule)
    plain.run(200_000)

    streets = Streets(town, how, cars, signals=plan, priority=rule)
    ptr = np.concatenate([[0], np.cumsum([len(r) for r in routes])])
    links = np.concatenate(routes).astype(np.int32)
    gap, pace, size = (np.divide(x, 1000) for x in (gaps, paces, sizes))
    streets.depart(np.arange(cars), depart_ms, ptr, links, gap=gap, pace=pace, size=size)
    rows, times = Traversals(4), [[] for _ in range(cars)]
    for t in range(tick_s, until_s + 1, tick_s):
        streets.advance(t * 1000, rows)
        for car, enter, leave in zip(rows.car[: rows.n], rows.enter_ms, rows.exit_ms, strict=False):
            times[car] += [int(leave)] if times[car] else [int(enter), int(leave)]
    end = until_s // tick_s * tick_s * 1000
    # a car that has entered but not left a link has no row yet
    expected = [[x for x in car.times if x < end] for car in plain.cars]
    assert times == [x if len(x) > 1 else [] for x in expected]
    sums = np.zeros((town.n_links, 2), int)
    for car, seen in zip(plain.cars, times, strict=True):
        for link, a, b in zip(car.route, seen[:-1], seen[1:], strict=False):
            sums[link] += 1, b - a
    assert np.array_equal(streets.link_sums, sums)


def test_the_plain_rules_see_rings_signals_and_full_links() -> None:
    # otherwise the comparison above would compare nothing but free flow
    rng = np.random.default_rng(1)
    town = grid(2, 3, length_m=9.0, signals=True)
    routes = walks(town, rng, 60, 25)
    how = TrafficSettings(gridlock_s=3, junctions="priority")
    alike = ([0] * 60, *([[1000] * 60] * 3))
    plain = reference(town, routes, *alike, how, signal_plan(town, how), right_of_way(town, how))
    plain.run(50_000)
    assert plain.rings > 0
    assert plain.gave_way > 0
    assert plain.in_order()


def test_times_beyond_the_horizon_are_refused() -> None:
    road = corridor(3)
    streets = Streets(road, TrafficSettings(), 2)
    one = (np.array([0, 1]), np.array([0], np.int32))
    with pytest.raises(TrafficError, match="24 days"):
        streets.depart([0], [HORIZON_MS], *one)
    with pytest.raises(TrafficError, match="24 days"):
        streets.advance(HORIZON_MS + 1, Traversals())
    with pytest.raises(TrafficError, match="from 0 to 32 times"):
        streets.depart([0], [0], *one, gap=40.0)
    with pytest.raises(TrafficError, match="20 hours"):
        Streets(corridor(3, length_m=2_000_000.0, speed_kmh=50.0), TrafficSettings(), 2)
    # the last moments before it are like any other
    streets.depart([0], [HORIZON_MS - 60_000], *one)
    free = int(streets.physics.free_ms[0])
    assert streets.advance(HORIZON_MS, Traversals()).at_ms.tolist() == [HORIZON_MS - 60_000 + free]


def test_positions_lie_on_the_streets_and_in_order() -> None:
    road = corridor(2, length_m=200.0)
    streets = Streets(road, TrafficSettings(), 40)
    streets.depart(np.arange(40), np.arange(40) * 2000, np.arange(41) * 2, np.tile([0, 1], 40).astype(np.int32))
    streets.advance(30_000, Traversals())
    seen = streets.positions(30_000)
    assert len(seen.vehicle) == streets.on_road > 0
    assert seen.y == pytest.approx(0, abs=1e-3)
    x = dict(zip(seen.vehicle.tolist(), seen.x.tolist(), strict=True))
    order = sorted(x)
    assert all(x[a] > x[b] for a, b in zip(order[:-1], order[1:], strict=True))
    # the first car has driven 30 s at 50 km/h, less what is beyond the road's end
    assert x[order[0]] == pytest.approx((30 - 2 * order[0]) * 50 / 3.6, abs=1.0)


def test_rows_of_other_traffic_are_used_again_and_routes_are_packed() -> None:
    road = corridor(5, length_m=100.0)
    streets = Streets(road, TrafficSettings(), 1)
    gone = 0
    for minute in range(400):
        rows = streets.rows_for(30)
        assert rows.min() >= 1
        at = minute * 120_000 + np.arange(30) * 2000
        streets.depart(rows, at, np.arange(31) * 5, np.tile(np.arange(5), 30).astype(np.int32))
        arrivals = streets.advance((minute + 1) * 120_000, Traversals())
        assert len(arrivals.vehicle) <= 60
        gone += len(arrivals.vehicle)
    assert gone + streets.on_road + streets.in_source == 400 * 30
    # 60,000 route entries went through; only those of the last minutes are kept
    assert len(streets._route) == 1 << 16


def test_bad_departures_are_refused() -> None:
    road = corridor(3)
    streets = Streets(road, TrafficSettings(), 2)
    with pytest.raises(TrafficError, match="gap"):
        streets.depart([0], [0], np.array([0, 2]), np.array([0, 2], np.int32))
    with pytest.raises(TrafficError, match="empty"):
        streets.depart([0], [0], np.array([0, 0]), np.array([], np.int32))
    streets.depart([0], [0], np.array([0, 1]), np.array([0], np.int32))
    with pytest.raises(TrafficError, match="still on the road"):
        streets.depart([0], [0], np.array([0, 1]), np.array([0], np.int32))


def test_a_car_cut_short_leaves_at_the_end_of_its_link() -> None:
    road = corridor(4, length_m=200.0)
    streets = Streets(road, TrafficSettings(), 2)
    streets.depart([0, 1], [0, 1000], np.array([0, 4, 8]), np.tile(np.arange(4), 2).astype(np.int32))
    streets.advance(20_000, Traversals())
    link = int(streets.current_link([0])[0])
    streets.cut_short(0, 20_000)
    rows = Traversals()
    arrivals = streets.advance(200_000, rows)
    assert arrivals.vehicle.tolist() == [0, 1]
    assert rows.link[: rows.n][rows.car[: rows.n] == 0].max() == link
    assert rows.link[: rows.n][rows.car[: rows.n] == 1].max() == 3
