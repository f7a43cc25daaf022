"""Joules of sessions, shares of caps and energy given back, by hand, uncompiled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.kernels.uncompiled import plain
from twin.charging import kernels as k

INTERVAL_MS = 10_000
ETA, GIVE_ETA = 0.5, 0.8


class Post:
    """Three sessions (rows) of three cars at two sites of two feeders; half of what is drawn gets into a battery."""

    def __init__(self, battery: int = 1000) -> None:
        self.car, self.site = np.array([2, 0, 1]), np.array([0, 1, 1])
        self.dc, self.grant_w = np.ones(3, bool), np.full(3, 100.0)
        self.target_j, self.floor_j = np.full(3, 90_000), np.full(3, 400)
        self.stop_ms, self.from_ms = np.full(3, -1), np.zeros(3, np.int64)
        self.energy_j, self.meter_j, self.loss_j, self.given_j = (np.zeros(3, np.int64) for _ in range(4))
        self.part_j, self.meter_part_j = np.zeros(3), np.zeros(3)
        self.model, self.capacity_j = np.zeros(3, np.int64), np.full(3, 100_000)
        self.battery_j = np.full(3, battery)
        self.charged_j, self.car_meter_j = np.zeros(3, np.int64), np.zeros(3, np.int64)
        self.curve_w = np.full((1, 101), 1e6)
        self.interval_j, self.first = np.zeros((10, 2), np.int64), 0

    def books(self) -> tuple[Any, ...]:
        return (
            self.car, self.site, self.dc, self.grant_w, self.target_j, self.floor_j, self.stop_ms, self.from_ms,
            self.energy_j, self.meter_j, self.loss_j, self.given_j, self.part_j, self.meter_part_j, self.model,
            self.capacity_j, self.battery_j, self.charged_j, self.car_meter_j, self.curve_w, self.interval_j,
            self.first, INTERVAL_MS, 300.0, 0.9, ETA, GIVE_ETA,
        )  # fmt: skip

    def charge(self, until_ms: int, row: int = 0) -> int:
        return int(plain(k.charge)(row, until_ms, *self.books()))

    def begin(self, until_ms: int, left: list[float], feeder_left: list[float], *, share: float = 1.0) -> Any:
        self.left, self.feeder_left, self.want = np.array(left), np.array(feeder_left), np.zeros(3)
        socket, fraction = np.full(3, 100.0), np.full(3, share)
        row = plain(k.begin)(
            0, until_ms, self.left, np.array([1, 0]), self.feeder_left, self.want, socket, fraction, *self.books()
        )
        return int(row)


def test_the_same_joules_go_to_car_session_and_grid() -> None:
    """100 W at the meter are 50 J a second in the battery, and as much is lost; intervals of 10 s."""
    post = Post()
    assert post.charge(25_000) == k.GOES_ON
    assert post.battery_j.tolist() == [1000, 1000, 2250]
    assert post.charged_j.tolist() == [0, 0, 1250]
    assert post.car_meter_j.tolist() == [0, 0, 2500]
    assert (post.energy_j[0], post.meter_j[0], post.loss_j[0], post.given_j[0]) == (1250, 2500, 1250, 0)
    assert post.interval_j[:4].tolist() == [[1000, 0], [1000, 0], [500, 0], [0, 0]]
    assert post.from_ms.tolist() == [25_000, 0, 0]
    post.first = 2
    assert post.charge(31_000) == k.GOES_ON
    assert post.interval_j[:4].tolist() == [[1500, 0], [1100, 0], [500, 0], [0, 0]]
    assert post.charge(31_000) == k.GOES_ON
    assert post.meter_j[0] == 3100


def test_parts_of_a_joule_are_carried() -> None:
    post = Post()
    post.grant_w[0] = 1.5  # 0.75 J and 1.5 J a second
    for second, (battery, meter) in enumerate(((0, 1), (1, 3), (2, 4), (3, 6)), 1):
        post.charge(1000 * second)
        assert (post.energy_j[0], post.meter_j[0], post.loss_j[0]) == (battery, meter, meter - battery)
        assert post.part_j[0] == pytest.approx(0.75 * second % 1)
        assert post.meter_part_j[0] == pytest.approx(1.5 * second % 1)


def test_a_target_is_met_exactly_and_ends_the_session_then() -> None:
    """700 J at 50 W take 14 s; 720 J take 14.4 s and one of 725 ends in the millisecond after."""
    post = Post()
    post.target_j[0] = 1700
    assert post.charge(60_000) == k.REACHED
    assert (post.from_ms[0], post.battery_j[2], post.meter_j[0], post.part_j[0]) == (14_000, 1700, 1400, 0.0)
    assert post.charge(60_000) == k.REACHED
    assert (post.from_ms[0], post.energy_j[0]) == (14_000, 700)
    post = Post()
    post.target_j[0], post.grant_w[0] = 1001, 60.0
    assert post.charge(60_000) == k.REACHED
    assert post.from_ms[0] == 34  # 33.3 ms
    post = Post(battery=95_000)  # beyond its target already
    assert post.charge(60_000) == k.REACHED
    assert (post.from_ms[0], post.energy_j[0], post.battery_j[2]) == (0, 0, 95_000)


def test_a_limit_of_time_ends_it_too() -> None:
    for stop, until, status, at in (
        (15_000, 60_000, k.LIMIT, 15_000),
        (15_000, 15_000, k.LIMIT, 15_000),
        (15_000, 14_999, k.GOES_ON, 14_999),
        (0, 60_000, k.LIMIT, 0),
        (-1, 20_000, k.GOES_ON, 20_000),
    ):
        post = Post()
        post.stop_ms[0] = stop
        assert (post.charge(until), post.from_ms[0]) == (status, at)
        assert post.energy_j[0] == at // 20


def test_a_curve_that_is_no_number_is_told() -> None:
    post = Post()
    post.curve_w[:] = np.nan
    assert post.charge(1000) == k.TROUBLE
    assert post.energy_j[0] == 0


def test_energy_given_back_leaves_the_battery_down_to_the_floor() -> None:
    """80 W at the meter take 100 J a second out of the battery: 600 J above the floor last 6 s."""
    post = Post()
    post.grant_w[0] = -80.0
    assert post.charge(4000) == k.GOES_ON
    assert (post.battery_j[2], post.charged_j[2], post.car_meter_j[2]) == (600, -400, -320)
    assert (post.energy_j[0], post.meter_j[0], post.loss_j[0], post.given_j[0]) == (-400, -320, 80, 320)
    assert post.interval_j[:2].tolist() == [[-320, 0], [0, 0]]
    assert post.charge(25_000) == k.GOES_ON
    assert (post.battery_j[2], post.given_j[0], post.from_ms[0]) == (400, 480, 25_000)
    assert post.interval_j[:3].tolist() == [[-480, 0], [0, 0], [0, 0]]
    post.battery_j[2] = 300  # below the floor: nothing is given, and nothing taken
    post.charge(30_000)
    assert post.battery_j[2] == 300
    post = Post(battery=50_000)
    post.grant_w[0], post.first = -80.0, 0
    post.charge(25_000)
    assert post.interval_j[:3].tolist() == [[-800, 0], [-800, 0], [-400, 0]]
    post.first = 2
    post.charge(30_000)
    assert post.interval_j[:3].tolist() == [[-1200, 0], [-800, 0], [-400, 0]]


def test_who_begins_takes_what_site_and_feeder_have_left() -> None:
    for left, feeder, got in (
        ([60.0, 9.0], [9.0, 80.0], 60.0),
        ([70.0, 9.0], [9.0, 30.0], 30.0),
        ([500.0, 0.0], [0.0, 500.0], 200.0),
    ):
        post = Post()
        assert post.begin(10_000, left, feeder) == k.GOES_ON
        assert post.grant_w[0] == pytest.approx(got)
        assert post.left.tolist() == [left[0] - got, left[1]]
        assert post.feeder_left.tolist() == [feeder[0], feeder[1] - got]
        assert post.energy_j[0] == got * 5
    post = Post()
    post.begin(5000, [60.0, 9.0], [9.0, 80.0], share=-0.8)  # gives back, and takes nothing of the caps
    assert (post.grant_w[0], post.given_j[0]) == (-80.0, 400)
    assert (post.left.tolist(), post.feeder_left.tolist()) == ([60.0, 9.0], [9.0, 80.0])
    post.begin(9000, [0.5, 9.0], [9.0, 0.25])
    assert post.grant_w[0] == 0.25


def wanted(
    battery: float = 1000.0, *, dc: bool = True, share: float = 1.0, seconds: float = 10.0, **curve: Any
) -> float:
    points = np.full((1, 101), curve.get("flat", 1e6))
    for percent, watts in curve.get("points", {}).items():
        points[0, percent] = watts
    return float(
        plain(k.wanted)(
            0,
            seconds,
            np.array([0]),
            np.array([dc]),
            np.array([100.0]),
            np.array([share]),
            np.array([0]),
            np.array([1000.0]),
            np.array([battery]),
            points,
            300.0,
            0.9,
            ETA,
        )
    )


def test_what_a_session_could_draw() -> None:
    assert wanted(share=-0.5) == -50.0
    assert wanted(share=0.0) == 0.0
    assert wanted(10.0) == 200.0  # a post's 100 W reach the battery, half of what the meter sees
    assert wanted(10.0, share=0.5) == 100.0
    assert wanted(10.0, flat=30.0) == 60.0
    # from 1 % on, 10 s at 100 W reach everything up to the full battery: the best of the way counts
    assert wanted(10.0, flat=30.0, points={100: 40.0}) == 80.0
    assert wanted(10.0, flat=30.0, points={60: 40.0}) == 80.0
    assert wanted(10.0, flat=30.0, points={0: 40.0}) == 60.0
    assert wanted(10.0, flat=30.0, points={60: 40.0}, seconds=2.0) == 60.0
    assert wanted(15.0, flat=30.0, points={1: 40.0}) == pytest.approx(70.0)  # half way between two points
    assert wanted(1000.0, flat=30.0, points={100: 20.0}) == pytest.approx(40.0)
    # alternating current: the charger's own loss counts both ways
    assert wanted(10.0, dc=False) == pytest.approx(100.0)


@pytest.mark.parametrize("energy", [-5.0, 0.0, 4.0, 10.0, 555.0, 990.0, 999.0, 1000.0])
def test_the_curve_is_linear_between_whole_percents(energy: float) -> None:
    curve = np.arange(101.0) ** 2
    i = int(np.clip(np.floor(energy / 10), 0, 99))
    exact = curve[i] + (curve[i + 1] - curve[i]) * (energy / 10 - i)
    assert plain(k.curve_at)(curve, energy, 1000.0) == pytest.approx(exact)


def test_alternating_and_direct_current_are_inverse() -> None:
    for dc in (True, False):
        for watts in (1.0, 50.0, 7000.0):
            into = plain(k.battery_power)(watts, dc, 300.0, 0.9, ETA)
            assert into == pytest.approx(watts * ETA if dc else 0.9 * watts**2 / (watts + 300.0))
            assert plain(k.meter_power)(into, dc, 300.0, 0.9, ETA) == pytest.approx(watts)
        assert plain(k.battery_power)(0.0, dc, 300.0, 0.9, ETA) == 0.0
    assert plain(k.battery_power)(-5.0, False, 300.0, 0.9, ETA) == 0.0


def shared(wants: list[float], caps: list[float], places: list[int]) -> tuple[list[float], list[float]]:
    n = len(wants)
    got, left = np.full(n + 1, np.nan), np.full(len(caps), np.nan)
    plain(k.share)(np.arange(n), np.array(places), np.array(wants), np.array(caps), got, left)
    return got[:n].tolist(), left.tolist()


def test_water_fills_to_one_level() -> None:
    assert shared([10, 20, 60], [60.0], [0, 0, 0]) == ([10, 20, 30], [0])
    assert shared([10, 20, 60], [45.0], [0, 0, 0]) == ([10, 17.5, 17.5], [0])
    assert shared([10, 20, 60], [90.0], [0, 0, 0]) == ([10, 20, 60], [0])
    assert shared([10, 20, 60], [100.0], [0, 0, 0]) == ([10, 20, 60], [10])
    assert shared([5, 9, 9], [20.0, 6.0], [0, 1, 1]) == ([5, 3, 3], [15, 0])
    assert shared([-7, 9, 0, 9], [10.0], [0, 0, 0, 0]) == ([-7, 5, 0, 5], [0])  # who gives back takes no part
    assert shared([1, 2, 4, 8, 16], [20.0], [0] * 5) == ([1, 2, 4, 6.5, 6.5], [0])
    assert shared([], [20.0], []) == ([], [20])


def ordered(order: list[int], wants: list[float], caps: list[float], feeders: list[float]) -> tuple[list[float], ...]:
    """Sessions 0 and 1 at site 0, 2 at site 1; site 0 on feeder 1, site 1 on feeder 0."""
    got, left, feeder_left = np.zeros(3), np.zeros(2), np.zeros(2)
    plain(k.share_in_order)(
        np.arange(3), np.array(order), np.array([0, 0, 1]), np.array(wants), np.array(caps), np.array([1, 0]),
        np.array(feeders), got, left, feeder_left,
    )  # fmt: skip
    return got.tolist(), left.tolist(), feeder_left.tolist()


def test_one_after_the_other() -> None:
    assert ordered([0, 1, 2], [8, 8, 8], [10.0, 5.0], [99.0, 99.0]) == ([8, 2, 5], [0, 0], [94, 89])
    assert ordered([1, 0, 2], [8, 8, 8], [10.0, 5.0], [99.0, 99.0]) == ([2, 8, 5], [0, 0], [94, 89])
    assert ordered([2, 1, 0], [8, 8, 8], [99.0, 99.0], [3.0, 12.0]) == ([4, 8, 3], [87, 96], [0, 0])
    assert ordered([0, 1, 2], [-8, 8, 0.5], [6.0, 5.0], [9.0, 9.0]) == ([-8, 6, 0.5], [0, 4.5], [8.5, 3])


def test_equal_shares_of_sites_then_of_feeders() -> None:
    """Site 0 has sessions 0 and 1, site 1 session 2; both hang on feeder 0."""
    got, left, feeder_left = np.zeros(3), np.zeros(2), np.zeros(2)

    def equally(wants: list[float], caps: list[float], feeders: list[float]) -> tuple[list[float], ...]:
        plain(k.share_equally)(
            np.arange(3), np.array([0, 0, 1]), np.array(wants), np.array(caps), np.array([0, 0]), np.array(feeders),
            got, left, feeder_left,
        )  # fmt: skip
        return got.tolist(), left.tolist(), feeder_left.tolist()

    inf = float("inf")
    assert equally([8.0, 8.0, 8.0], [10.0, 20.0], [inf, inf]) == ([5, 5, 8], [0, 12], [inf, inf])
    assert equally([8.0, 8.0, 8.0], [10.0, 20.0], [12.0, inf]) == ([4, 4, 4], [2, 16], [0, inf])
    assert equally([8.0, 8.0, 8.0], [10.0, 20.0], [16.0, 5.0]) == ([5, 5, 6], [0, 14], [0, 5])
    assert equally([-8.0, 8.0, 8.0], [10.0, 20.0], [6.0, inf]) == ([-8, 3, 3], [7, 17], [0, inf])


def test_a_tick_shares_and_then_advances_everybody() -> None:
    for rule, watts in ((k.EQUAL, [60.0, 50.0, 50.0]), (k.IN_ORDER, [60.0, 0.0, 100.0])):
        post = Post()
        status, want, left, feeder_left = np.full(3, 9), np.zeros(3), np.zeros(2), np.zeros(2)
        plain(k.flow)(
            np.arange(3), 0, 20_000, np.array([60.0, 100.0]), left, np.array([0, 1]), np.array([np.inf, np.inf]),
            feeder_left, rule, np.array([0.0, 2.0, 1.0]), want, np.full(3, 75.0), np.ones(3), status, *post.books(),
        )  # fmt: skip
        assert post.grant_w.tolist() == pytest.approx(watts)
        assert status.tolist() == [k.GOES_ON] * 3
        assert post.energy_j.tolist() == [10 * w for w in watts]
        assert post.battery_j.tolist() == [1000 + 10 * watts[1], 1000 + 10 * watts[2], 1000 + 10 * watts[0]]
