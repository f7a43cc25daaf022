"""The traffic engine against closed forms of kinematic-wave theory.

Every check also fails when the engine is given a 2 % error on purpose (`planted`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import ArrayLike

from maps.network import SIGNALS
from maps.toy import corridor, grid, ring
from tests.traffic_runs import Record, drive
from twin.settings import TrafficSettings
from twin.traffic.signals import signal_plan

S = TrafficSettings()
V = 50 / 3.6
JAM = 1 / S.spacing_m
WAVE = S.spacing_m / S.tau_s
CAPACITY = 1 / (S.tau_s + S.spacing_m / V)


def planted(tau: float = 1.0, spacing: float = 1.0) -> TrafficSettings:
    """Settings that are wrong by 2 %, which the checks must notice."""
    return TrafficSettings(tau_s=S.tau_s * tau, spacing_m=S.spacing_m * spacing)


def ring_flow(density_share: float, settings: TrafficSettings = S, *, speed: float = 50.0) -> tuple[float, float]:
    """Flow and density on a ring road at steady state, 1/s and 1/m."""
    road = ring(10, length_m=150.0, speed_kmh=speed)
    cars = round(density_share * 1500 * JAM)
    first = np.arange(cars) * 10 // cars
    routes = [(f + np.arange(400)) % 10 for f in first]
    record = drive(road, routes, np.zeros(cars), until_s=2400, tick_s=600, settings=settings)
    late = record.exit_ms >= 600_000
    return late.sum() / 1800 / 10, cars / 1500


def triangle(density: float) -> float:
    return min(V * density, CAPACITY, WAVE * (JAM - density))


@pytest.mark.parametrize("share", np.linspace(0.025, 0.95, 40).round(4))
def test_fundamental_diagram(share: float) -> None:
    flow, density = ring_flow(share)
    # one vehicle more or less in 1800 s is the resolution at very low flow
    assert flow == pytest.approx(triangle(density), rel=0.01, abs=1 / 1800)


@pytest.mark.parametrize(
    ("share", "settings"),
    [(0.15, planted(spacing=1.02)), (0.35, planted(tau=1.02)), (0.6, planted(tau=1.02)), (0.6, planted(spacing=1.02))],
)
def test_fundamental_diagram_notices_two_percent(share: float, settings: TrafficSettings) -> None:
    # the free branch knows neither gap nor spacing: there it is the speed that would be wrong
    flow, density = ring_flow(share, settings, speed=50 * 1.02 if share < 0.2 else 50.0)
    assert abs(flow / triangle(density) - 1) > 0.01


def bottleneck_delay(settings: TrafficSettings = S) -> tuple[float, float]:
    """Total delay at a lane drop: simulated, and T²(λ−μ)λ/2μ, vehicle-seconds."""
    road = corridor(2, length_m=2000.0, speed_kmh=50.0, lanes=2)
    road = replace(road, link_lanes=np.array([2, 1], np.uint8))
    rate, burst = 0.8, 300.0
    depart = np.arange(round(rate * burst)) / rate
    record = drive(road, [[0, 1]] * len(depart), depart, until_s=3600, settings=settings)
    free = np.rint(road.link_free_s * 1000).sum()
    delay = (record.arrive_ms - depart * 1000 - free).sum() / 1000
    return delay, burst**2 * (rate - CAPACITY) * rate / (2 * CAPACITY)


def test_bottleneck_total_delay() -> None:
    delay, theory = bottleneck_delay()
    one_vehicle = 240 / 2 / CAPACITY / 240 * 2
    assert delay == pytest.approx(theory, rel=0.012, abs=one_vehicle)


@pytest.mark.parametrize("settings", [planted(tau=1.02), planted(tau=0.98)])
def test_bottleneck_notices_two_percent(settings: TrafficSettings) -> None:
    delay, theory = bottleneck_delay(settings)
    assert abs(delay / theory - 1) > 0.015


def mean_gap(*, gap: float = 1.0, settings: TrafficSettings = S, length_m: float = 500.0, links: int = 3) -> float:
    """Time between vehicles at saturation on the last of a few links, relative to theory's."""
    road = corridor(links, length_m=length_m)
    record = drive(road, [np.arange(links)] * 600, np.zeros(600), until_s=2200, settings=settings, gap=gap)
    gaps = np.diff(record.exits(links - 1)) / 1000
    assert gaps.min() >= gap / CAPACITY * (0.99 if settings is S else 0.9) - 0.002
    return gaps.mean() * CAPACITY


def test_discharge_is_saturation_flow() -> None:
    assert mean_gap() == pytest.approx(1.0, rel=0.001)
    assert mean_gap(settings=planted(tau=1.02)) != pytest.approx(1.0, rel=0.005)


def test_gap_of_a_car_changes_capacity() -> None:
    assert mean_gap(gap=1.2) == pytest.approx(1.2, rel=0.001)
    assert mean_gap(gap=1.2 * 1.02) != pytest.approx(1.2, rel=0.01)


def test_short_links_keep_capacity() -> None:
    # storage of 1.6 vehicles must not throttle the street
    assert mean_gap(length_m=12.0, links=30) == pytest.approx(1.0, rel=0.005)
    assert mean_gap(length_m=12.0, links=30, settings=planted(tau=1.02)) != pytest.approx(1.0, rel=0.01)


def at_red_light(
    until_after_red_s: float, settings: TrafficSettings, *, size: ArrayLike = (1.0,) * 36
) -> tuple[Record, float]:
    """36 cars (or others) reach a red light at the end of ten 60 m links; returns the run and when green begins, s."""
    road = corridor(10, length_m=60.0)
    road = replace(road, node_control=np.array([0] * 10 + [SIGNALS], np.uint8))
    plan = signal_plan(road, settings)
    assert plan.link.tolist() == [9]
    red = plan.stop_ms[0] / 1000 + settings.signal_cycle_s
    green = plan.start_ms[0] / 1000 + 2 * settings.signal_cycle_s
    assert green - red >= 70
    n, until_s = len(np.asarray(size)), green + until_after_red_s
    depart = red - 600 / V + np.arange(n) / CAPACITY
    return drive(road, [np.arange(10)] * n, depart, until_s=until_s, settings=settings, size=size), green


def test_queue_stands_at_jam_density_and_blocks_the_links_before() -> None:
    red = {"signal_cycle_s": 300}
    record, _ = at_red_light(-1.0, TrafficSettings(**red))
    assert record.streets.link_vehicles.tolist() == [0, 0, 0, 0, 0, 4, 8, 8, 8, 8]
    # 2 % more room per car: 60 m hold seven
    record, _ = at_red_light(-1.0, TrafficSettings(spacing_m=S.spacing_m * 1.02, **red))
    assert record.streets.link_vehicles.tolist() == [0, 0, 0, 0, 1, 7, 7, 7, 7, 7]


def test_a_queue_is_as_long_as_the_vehicles_in_it() -> None:
    red = TrafficSettings(signal_cycle_s=300)
    for size, queue in (
        ([2.0] * 18, [2, 4, 4, 4, 4]),
        ([1.0, 3.0] * 9, [2, 4, 4, 4, 4]),
        ([1.5] * 22, [2, 5, 5, 5, 5]),
    ):
        record, _ = at_red_light(-1.0, red, size=size)
        assert record.streets.link_vehicles.tolist() == [0] * 5 + queue
        # they stand behind each other: each front is as far from the next as that one is long
        here = record.streets.positions(record.streets._until_ms)
        last = np.sort(here.x[here.link == 9])[::-1]
        assert -np.diff(last) == pytest.approx(np.array(size[: len(last) - 1]) * S.spacing_m, abs=0.01)
    # 2 % more room for each: 60 m hold three of two cars' length
    record, _ = at_red_light(-1.0, TrafficSettings(signal_cycle_s=300, spacing_m=S.spacing_m * 1.02), size=[2.0] * 18)
    assert record.streets.link_vehicles.tolist()[-5:] == [3] * 5


def test_one_longer_than_a_link_has_it_to_itself() -> None:
    road = corridor(30, length_m=15.0)
    record = drive(road, [np.arange(30)] * 50, np.zeros(50), until_s=1200, tick_s=1, size=np.tile([5.0, 1.0], 25))
    assert np.all(record.arrive_ms > 0)
    for link in range(30):
        mine = record.link == link
        order = np.argsort(record.enter_ms[mine])
        car, enter, leave = record.car[mine][order], record.enter_ms[mine][order], record.exit_ms[mine][order]
        alone = (car[1:] % 2 == 0) | (car[:-1] % 2 == 0)
        # and its space travels back before the next takes it
        assert np.all(enter[1:][alone] >= leave[:-1][alone] + 15 / WAVE * 1000 - 1)


def start_wave_speed(settings: TrafficSettings) -> float:
    record, green = at_red_light(300.0, settings)
    starts = [record.exits(link)[record.exits(link) >= green * 1000].min() / 1000 for link in (9, 8, 7, 6)]
    return 60 / float(np.diff(starts).mean())


@pytest.mark.parametrize("tau", [1.02, 0.98])
def test_start_wave_travels_back_at_wave_speed(tau: float) -> None:
    cycle = {"signal_cycle_s": 300}
    assert start_wave_speed(TrafficSettings(**cycle)) == pytest.approx(WAVE, rel=0.005)
    wrong = start_wave_speed(planted(tau=tau).model_copy(update=cycle))
    assert wrong != pytest.approx(WAVE, rel=0.01)
    # by as much as it was planted, in the way it was
    assert wrong == pytest.approx(WAVE / tau, rel=0.005)


RATE = 0.4
SLOW = 1 / (S.tau_s + S.spacing_m / 1.0)
FREE_DENSITY, QUEUE_DENSITY = RATE / V, JAM - SLOW / WAVE


def behind_a_slow_road(settings: TrafficSettings, *, until_s: float) -> tuple[float, float, float]:
    """Where the queue begins, m before the slow road; its density; flow out of it (from 400 s on)."""
    road = corridor(26, length_m=150.0, speed_kmh=50.0)
    road = replace(road, link_speed=np.append(road.link_speed[:25], 1.0))
    depart = np.arange(round(RATE * until_s)) / RATE
    record = drive(road, [np.arange(26)] * len(depart), depart, until_s=until_s, settings=settings)
    count = record.streets.link_vehicles[:25].astype(float)
    # the shock's place follows from how many cars there are in all: two densities on one road
    back = (count.sum() - FREE_DENSITY * 3750) / (QUEUE_DENSITY - FREE_DENSITY)
    late = record.exits(24) >= 400_000
    return back, count[19:25].sum() / 900, late.sum() / (until_s - 400)


def test_the_shock_travels_back_and_the_queue_is_on_the_congested_branch() -> None:
    speed = (RATE - SLOW) / (QUEUE_DENSITY - FREE_DENSITY)
    early, _, _ = behind_a_slow_road(S, until_s=600.0)
    late, density, flow = behind_a_slow_road(S, until_s=1400.0)
    assert late < 3750  # still on the road
    assert (late - early) / 800 == pytest.approx(speed, rel=0.01)
    assert density == pytest.approx(QUEUE_DENSITY, rel=0.01)
    assert flow == pytest.approx(SLOW, rel=0.01)


def test_shock_and_queue_notice_two_percent() -> None:
    _, density, flow = behind_a_slow_road(planted(spacing=1.02), until_s=1400.0)
    assert density != pytest.approx(QUEUE_DENSITY, rel=0.01)
    assert flow != pytest.approx(SLOW, rel=0.01)


def test_first_in_first_out_on_every_link() -> None:
    rng = np.random.default_rng(3)
    town = grid(4, 4, length_m=80.0, signals=True)
    routes = [random_walk(town, rng, 12) for _ in range(500)]
    record = drive(town, routes, rng.random(500) * 200, until_s=3000)
    for link in range(town.n_links):
        here = record.link == link
        assert np.all(np.diff(record.enter_ms[here]) >= 0)


def random_walk(town, rng, steps):  # type: ignore[no-untyped-def]
    links = [int(rng.integers(town.n_links))]
    for _ in range(steps):
        node = town.link_to[links[-1]]
        out = np.arange(town.out_ptr[node], town.out_ptr[node + 1])
        ahead = out[town.link_to[out] != town.link_from[links[-1]]]
        links.append(int(rng.choice(ahead if len(ahead) else out)))
    return links


def test_ring_gridlock_is_named_turned_and_nobody_is_lost() -> None:
    # a roundabout so full that every head waits for the next link, and nobody can leave it
    road = ring(4, length_m=15.0)
    cars = 8
    routes = [(i % 4 + np.arange(41)) % 4 for i in range(cars)]
    record = drive(road, routes, np.zeros(cars), until_s=30_000)
    turned, moved = record.streets.rings_turned
    assert turned > 0 and moved == 4 * turned
    # the links are named
    assert record.streets.link_ring_turns.tolist() == [turned] * 4
    assert (record.arrive_ms >= 0).all()
    # while nobody can leave, it closes again with each link's next car and turns `gridlock_s` after that
    turns = np.diff(record.exits(0))[3:9]
    assert set(turns) == {S.gridlock_s * 1000 + round(1000 / CAPACITY)}


def test_tick_length_changes_nothing() -> None:
    rng = np.random.default_rng(5)
    town = grid(4, 4, length_m=100.0, signals=True)
    routes = [random_walk(town, rng, 15) for _ in range(400)]
    depart = rng.random(400) * 120
    a = drive(town, routes, depart, until_s=1800, tick_s=60)
    b = drive(town, routes, depart, until_s=1800, tick_s=1)
    assert np.array_equal(a.arrive_ms, b.arrive_ms)
    assert np.array_equal(a.exit_ms, b.exit_ms) and np.array_equal(a.car, b.car)
