"""Junctions against closed forms: signals, merges, diverges, gaps.

Every check also fails when the engine is given a 2 % error on purpose (`wrong`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from maps.draft import draft_of
from maps.network import RoadNetwork
from maps.toy import corridor, merge
from tests.traffic_runs import drive
from twin.settings import TrafficSettings
from twin.traffic.right_of_way import RightOfWay
from twin.traffic.signals import SignalPlan

S = TrafficSettings()
V = 50 / 3.6
CAPACITY = 1 / (S.tau_s + S.spacing_m / V)


def one_signal(*windows: tuple[int, int, int]) -> SignalPlan:
    """Green windows (cycle, start, stop), s, at the end of link 0."""
    rows = np.array(windows, float) * 1000
    return SignalPlan(np.zeros(len(rows), np.int64), *np.rint(rows).astype(np.int64).T)


# ------------------------------------------------------------------ signals


def signal_delay(plan: SignalPlan, *, rate: float, settings: TrafficSettings = S) -> float:
    """Mean delay at the signal, s, of cars that come at a rate that falls into every phase of the cycle."""
    road = corridor(2, length_m=400.0)
    depart = np.arange(2584) / rate
    record = drive(
        road, [[0, 1]] * 2584, depart, until_s=2584 / rate + 300, tick_s=3000, signals=plan, settings=settings
    )
    return float((record.exits(0) - record.enter_ms[record.link == 0]).mean() / 1000 - road.link_free_s[0])


def arrivals(cycle: float) -> float:
    """About a car in 10 s; the golden ratio spreads them evenly over the phases of the cycle."""
    return (round(cycle / 10) + 0.6180339887) / cycle


def webster(reds: list[float], cycle: float, *, rate: float) -> float:
    """Sum of r²/2C(1-y) over the reds of a cycle: for one red, Webster's first term C(1-g)²/2(1-y) (1958)."""
    return sum(r * r / (2 * cycle * (1 - rate / CAPACITY)) for r in reds)


def uniform_delay(reds: list[float], cycle: float, *, rate: float) -> float:
    """The same of whole cars: the k-th that comes in a red waits r - a - k (1/rate - h), a from 0 to 1/rate."""
    left = np.array(reds)[:, None] - np.arange(99) * (1 / rate - 1 / CAPACITY)
    left = np.maximum(left, 0.0)
    return float((left**2 - np.maximum(left - 1 / rate, 0.0) ** 2).sum() / 2 / cycle)


@pytest.mark.parametrize(("cycle", "green"), [(90, 40), (60, 40), (117, 60), (120, 35)])
def test_uniform_delay_of_a_fixed_cycle(cycle: int, green: int) -> None:
    rate = arrivals(cycle)
    theory = uniform_delay([cycle - green], cycle, rate=rate)
    assert signal_delay(one_signal((cycle, 11, 11 + green)), rate=rate) == pytest.approx(theory, rel=0.005)
    # the fluid's whole car leaves at once, ours takes a headway
    assert theory == pytest.approx(webster([cycle - green], cycle, rate=rate), abs=0.5 / CAPACITY)
    wrong = one_signal((cycle, 11, 11 + green - 0.02 * (cycle - green)))
    assert signal_delay(wrong, rate=rate) != pytest.approx(theory, rel=0.015)


def test_uniform_delay_of_two_greens_in_a_cycle() -> None:
    rate = arrivals(120)
    theory = uniform_delay([30, 40], 120, rate=rate)
    assert signal_delay(one_signal((120, 100, 120), (120, 30, 60)), rate=rate) == pytest.approx(theory, rel=0.005)
    assert signal_delay(one_signal((120, 100, 119.2), (120, 30.6, 60)), rate=rate) != pytest.approx(theory, rel=0.02)


def flow_through(plan: SignalPlan, settings: TrafficSettings) -> float:
    """Flow at a signal with a standing queue, over 100 cycles of 90 s."""
    road = corridor(2, length_m=2000.0)
    record = drive(road, [[0, 1]] * 5200, np.zeros(5200), until_s=9900, tick_s=3300, signals=plan, settings=settings)
    out = record.exits(0)
    return float(((out >= 900_000) & (out < 9_900_000)).sum() / 9000)


def test_capacity_of_a_signal_is_its_share_of_green() -> None:
    # fixed: whole cars in every green, at a headway each, the first at its start
    cars = np.ceil(45 * CAPACITY)
    assert flow_through(one_signal((90, 20, 65)), S) == pytest.approx(cars / 90, rel=1e-4)
    share = TrafficSettings(signals="share")
    assert flow_through(one_signal((90, 20, 65)), share) == pytest.approx(CAPACITY / 2, rel=1e-3)
    assert flow_through(one_signal((90, 20, 65.9)), share) != pytest.approx(CAPACITY / 2, rel=0.01)


def test_a_share_of_green_stops_nobody() -> None:
    road = corridor(2, length_m=400.0)
    how = TrafficSettings(signals="share")
    record = drive(
        road, [[0, 1]] * 50, np.arange(50) * 10.0, until_s=900, signals=one_signal((90, 0, 45)), settings=how
    )
    assert np.all(record.exits(0) - record.enter_ms[record.link == 0] == round(road.link_free_s[0] * 1000))


def test_an_offset_makes_a_green_wave() -> None:
    # the second signal turns green one free-flow time after the first: nobody stops twice
    road = corridor(3, length_m=500.0)
    free = round(road.link_free_s[0] * 1000)
    for offset, stops in ((0, False), (40_000, True)):
        plan = SignalPlan(
            np.array([0, 1]), np.full(2, 80_000), np.array([0, (free + offset) % 80_000]),
            np.array([30_000, (free + offset) % 80_000 + 30_000]),
        )  # fmt: skip
        record = drive(road, [[0, 1, 2]] * 100, np.arange(100) * 10.0, until_s=3000, signals=plan)
        second = record.exits(1) - record.enter_ms[record.link == 1] - free
        assert (second.max() > 1000) == stops


# ------------------------------------------------------------------ merges and diverges


def merge_flows(rates: tuple[float, float], rule: RightOfWay | None = None) -> tuple[float, float]:
    """Flows of the two lanes of a merge into one lane, 1/s, once it has settled."""
    road = merge(main_lanes=1, ramp_lanes=1, down_lanes=1)
    times = [np.arange(round(2700 * rate)) / rate for rate in rates]
    depart = np.concatenate(times)
    routes = [[lane, 2] for lane, part in enumerate(times) for _ in part]
    record = drive(road, routes, depart, until_s=2700, priority=rule)
    late = (record.exit_ms >= 600_000) & (record.exit_ms < 2_700_000)
    return tuple(float(((record.link == lane) & late).sum() / 2100) for lane in (0, 1))  # type: ignore[return-value]


MERGE = 1 / (S.tau_s + S.spacing_m / (100 / 3.6))


@pytest.mark.parametrize("priority", [0.5, 0.6, 0.75, 0.9])
@pytest.mark.parametrize("rates", [(0.1, 0.2), (0.6, 0.1), (0.1, 0.65), (0.68, 0.68)])
def test_merge_is_newells_and_daganzos(priority: float, rates: tuple[float, float]) -> None:
    """Daganzo, "The cell transmission model, part II", Transp. Res. B 29, 1995: the middle of three."""
    rule = RightOfWay.none(merge_weight=np.array([priority, 1 - priority, 1.0]))
    main = sorted([rates[0], MERGE - rates[1], priority * MERGE])[1]
    ramp = sorted([rates[1], MERGE - rates[0], (1 - priority) * MERGE])[1]
    if sum(rates) <= MERGE:
        main, ramp = rates
    assert merge_flows(rates, rule) == pytest.approx((main, ramp), rel=0.005, abs=1 / 1400)


def test_merge_notices_two_percent() -> None:
    rule = RightOfWay.none(merge_weight=np.array([0.75 * 1.02, 1 - 0.75 * 1.02, 1.0]))
    main, ramp = merge_flows((0.68, 0.68), rule)
    assert main != pytest.approx(0.75 * MERGE, rel=0.01)
    assert ramp != pytest.approx(0.25 * MERGE, rel=0.01)


def test_merge_shares_by_capacity_and_keeps_capacity() -> None:
    road = merge(main_lanes=2, ramp_lanes=1, down_lanes=1)
    n = 2500
    for lanes, ratio in (((2, 1, 1), 2.0), ((3, 1, 1), 3.0)):
        wide = replace(road, link_lanes=np.array(lanes, np.uint8))
        record = drive(wide, [[0, 2], [1, 2]] * n, np.repeat(np.arange(n) * 0.5, 2), until_s=2400)
        main, ramp = (((record.link == i) & (record.exit_ms > 600_000)).sum() for i in (0, 1))
        assert (main + ramp) / 1800 == pytest.approx(MERGE, rel=0.002)
        assert main / ramp == pytest.approx(ratio, rel=0.01)


def test_uncongested_merge_delays_nobody_for_long() -> None:
    road = merge(main_lanes=1, ramp_lanes=1, down_lanes=1)
    depart = np.repeat(np.arange(300) * 10.0, 2) + np.tile([0.0, 5.0], 300)
    record = drive(road, [[0, 2], [1, 2]] * 300, depart, until_s=4000)
    free = np.rint(road.link_free_s * 1000)[[0, 2]].sum()
    assert (record.arrive_ms - depart * 1000 - free).max() <= 2


def fork(slow_speed: float) -> RoadNetwork:
    """One link that forks into two, the second one slow."""
    return draft_of(
        x=[0.0, 800.0, 1600.0, 1600.0], y=[0.0, 0.0, 100.0, -100.0], link_from=[0, 1, 1], link_to=[1, 2, 3],
        length_m=800.0, speed_mps=np.array([V, V, slow_speed]), lanes=1, road_class=4,
    ).finish()  # fmt: skip


def test_diverge_is_first_in_first_out() -> None:
    """Daganzo 1995: a blocked branch holds up those behind for the other, so flow is its capacity over its share."""

    def flow(slow_speed: float) -> float:
        routes = [[0, 2] if i % 4 == 0 else [0, 1] for i in range(1400)]
        record = drive(fork(slow_speed), routes, np.arange(1400) / 0.55, until_s=2500)
        late = record.exits(0) >= 900_000
        # arrivals stay ahead of what leaves
        assert record.streets.link_vehicles[0] + record.streets.in_source > 20
        return float(late.sum() / 1600)

    slow = 1 / (S.tau_s + S.spacing_m / 0.9)
    assert flow(0.9) == pytest.approx(4 * slow, rel=0.005)
    assert flow(0.9 * 1.02) != pytest.approx(4 * slow, rel=0.01)


# ------------------------------------------------------------------ gaps


def crossing() -> RoadNetwork:
    """A road of 200 lanes (so that its cars do not hold up each other) crossed by one of one lane."""
    return draft_of(
        x=[-900.0, 900.0, 0.0, 0.0, 0.0], y=[0.0, 0.0, -900.0, 900.0, 0.0], link_from=[0, 4, 2, 4],
        link_to=[4, 1, 4, 3], length_m=900.0, speed_mps=V, lanes=np.array([200, 200, 1, 1]), road_class=4,
    ).finish()  # fmt: skip


def through_gaps(
    major_s: np.ndarray, *, gap_s: float, follow_s: float, until_s: float, patience_s: float = 1e4
) -> tuple[np.ndarray, np.ndarray]:
    """When cars of a standing queue cross a stream that passes at `major_s`, and when that passes, s."""
    road = crossing()
    first, side = (int(np.flatnonzero(road.link_from == node)[0]) for node in (0, 2))
    onto, up = (int(np.flatnonzero(road.link_to == node)[0]) for node in (1, 3))
    # the fork's links are sorted by node: each keeps its own lanes
    assert road.link_lanes[[first, onto, side, up]].tolist() == [200, 200, 1, 1]
    one = np.array([side])
    follow = np.zeros(road.n_links)
    follow[side] = follow_s
    rule = RightOfWay(
        one, -one // one, np.array([first]), np.array([-1]), np.zeros(1), np.array([gap_s]), follow_up_s=follow,
        patience_s=patience_s,
    )  # fmt: skip
    minor = int(until_s / follow_s)
    routes = [[first, onto]] * len(major_s) + [[side, up]] * minor
    record = drive(road, routes, np.append(major_s, np.zeros(minor)), until_s=until_s, tick_s=1e4, priority=rule)
    return record.exits(side) / 1000, record.exits(first) / 1000


def test_minor_road_takes_the_gaps_there_are() -> None:
    """In a gap g go 1 + floor((g - t_c) / t_f) cars; on random arrivals that is Harders' capacity."""
    gap_s, follow_s, rate, until_s = 6.5, 4.0, 0.12, 40_000.0
    major = np.cumsum(np.random.default_rng(2).exponential(1 / rate, 6000))
    major = major[major < until_s]

    def took(wrong: float = 1.0) -> tuple[int, float]:
        went, passed = through_gaps(major, gap_s=gap_s * wrong, follow_s=follow_s, until_s=until_s)
        inside = (went > passed[0]) & (went < passed[-1])
        gaps = np.diff(passed)
        return int(inside.sum()), float(np.where(gaps >= gap_s, 1 + np.floor((gaps - gap_s) / follow_s), 0).sum())

    count, expected = took()
    # a follow-up time may reach over a short gap into the next
    assert count == pytest.approx(expected, rel=0.01)
    harders = rate * np.exp(-rate * gap_s) / (1 - np.exp(-rate * follow_s))
    assert count / until_s == pytest.approx(harders, rel=0.03)
    assert took(1.02)[0] != pytest.approx(expected, rel=0.01)


def test_who_has_waited_long_takes_shorter_gaps() -> None:
    # the stream comes every 3 s, the gap needed is 6: it fits when half of the patience is over
    def first_goes(*, patience_s: float = 6000.0, gap_s: float = 6.0) -> float:
        went, _ = through_gaps(
            np.arange(0, 3400, 3.0), gap_s=gap_s, follow_s=100.0, until_s=3300, patience_s=patience_s
        )
        return float(went[0]) - 900 / V

    assert first_goes() == pytest.approx(3000, rel=0.002)
    assert first_goes(patience_s=6000 * 1.02) != pytest.approx(3000, rel=0.01)
    assert first_goes(gap_s=6 * 1.02) != pytest.approx(3000, rel=0.01)


def test_a_standing_queue_is_not_waited_for() -> None:
    # the major road is blocked behind the junction: the side road crosses between its cars
    road = crossing()
    first, side = (int(np.flatnonzero(road.link_from == node)[0]) for node in (0, 2))
    onto, up = (int(np.flatnonzero(road.link_to == node)[0]) for node in (1, 3))
    lanes = road.link_lanes.copy()
    lanes[first] = 1
    lanes[onto] = 1
    speed = road.link_speed.copy()
    speed[onto] = 0.1
    road = replace(road, link_lanes=lanes, link_speed=speed)
    one = np.array([side])
    rule = RightOfWay(one, -one // one, np.array([first]), np.array([-1]), np.zeros(1), np.array([6.0]))
    routes = [[first, onto]] * 200 + [[side, up]] * 20
    depart = np.append(np.arange(200) * 2.0, 9000 + np.arange(20) * 80.0)
    record = drive(road, routes, depart, until_s=11_000, priority=rule)
    assert record.streets.link_vehicles[first] > 20
    waits = record.exits(side) - record.enter_ms[record.link == side] - round(1000 * 900 / V)
    assert len(waits) == 20 and waits.max() < 100
