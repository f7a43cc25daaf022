"""The traffic engine against closed forms of kinematic-wave theory.

Every check also fails when the engine is given a 2 % error on purpose (`planted`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from maps.network import SIGNALS
from maps.toy import corridor, grid, merge, ring
from tests.traffic_runs import Record, drive
from twin.settings import TrafficSettings
from twin.traffic.engine import signal_plan

S = TrafficSettings()
V = 50 / 3.6
JAM = 1 / S.spacing_m
WAVE = S.spacing_m / S.tau_s
CAPACITY = 1 / (S.tau_s + S.spacing_m / V)


def planted(tau: float = 1.0, spacing: float = 1.0) -> TrafficSettings:
    """Settings that are wrong by 2 %, which the checks must notice."""
    return TrafficSettings(tau_s=S.tau_s * tau, spacing_m=S.spacing_m * spacing)


def ring_flow(density_share: float, settings: TrafficSettings = S) -> tuple[float, float]:
    """Flow and density on a ring road at steady state, 1/s and 1/m."""
    road = ring(10, length_m=150.0, speed_kmh=50.0)
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


def test_fundamental_diagram_notices_two_percent() -> None:
    flow, density = ring_flow(0.6, planted(tau=1.02))
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


def test_bottleneck_notices_two_percent() -> None:
    delay, theory = bottleneck_delay(planted(tau=1.02))
    assert abs(delay / theory - 1) > 0.015


def test_discharge_is_saturation_flow() -> None:
    road = corridor(3, length_m=500.0)
    record = drive(road, [[0, 1, 2]] * 600, np.zeros(600), until_s=1500)
    gaps = np.diff(record.exits(2)) / 1000
    assert gaps.mean() == pytest.approx(1 / CAPACITY, rel=0.001)
    assert np.diff(np.sort(record.exit_ms[record.link == 2])).min() >= 1000 / CAPACITY - 2


def test_gap_of_a_car_changes_capacity() -> None:
    road = corridor(3, length_m=500.0)
    record = drive(road, [[0, 1, 2]] * 600, np.zeros(600), until_s=2000, gap=1.2)
    assert np.diff(record.exits(2)).mean() / 1000 == pytest.approx(1.2 / CAPACITY, rel=0.001)


def at_red_light(until_after_red_s: float, settings: TrafficSettings) -> tuple[Record, float]:
    """36 cars reach a red light at the end of ten 60 m links; returns the run and when green begins, s."""
    road = corridor(10, length_m=60.0)
    road = replace(road, node_control=np.array([0] * 10 + [SIGNALS], np.uint8))
    start, stop = signal_plan(road, settings)
    red = stop[9] / 1000 + settings.signal_cycle_s
    green = start[9] / 1000 + 2 * settings.signal_cycle_s
    assert green - red >= 70
    depart = red - 600 / V + np.arange(36) / CAPACITY
    return drive(road, [np.arange(10)] * 36, depart, until_s=green + until_after_red_s, settings=settings), green


def test_queue_stands_at_jam_density_and_blocks_the_links_before() -> None:
    record, _ = at_red_light(-1.0, TrafficSettings(signal_cycle_s=300))
    assert record.streets.link_vehicles.tolist() == [0, 0, 0, 0, 0, 4, 8, 8, 8, 8]


def start_wave_speed(settings: TrafficSettings) -> float:
    record, green = at_red_light(300.0, settings)
    starts = [record.exits(link)[record.exits(link) >= green * 1000].min() / 1000 for link in (9, 8, 7, 6)]
    return 60 / float(np.diff(starts).mean())


def test_start_wave_travels_back_at_wave_speed() -> None:
    assert start_wave_speed(TrafficSettings(signal_cycle_s=300)) == pytest.approx(WAVE, rel=0.005)
    assert start_wave_speed(TrafficSettings(signal_cycle_s=300, tau_s=S.tau_s * 1.02)) != pytest.approx(WAVE, rel=0.01)


def test_queue_spills_back_and_settles_on_the_congested_branch() -> None:
    # a slow last link lets the queue grow back over the links before it
    road = corridor(4, length_m=300.0, speed_kmh=50.0)
    road = replace(road, link_speed=np.append(road.link_speed[:3], 1.0))
    slow = 1 / (S.tau_s + S.spacing_m / 1.0)
    depart = np.arange(400) / 0.5
    record = drive(road, [[0, 1, 2, 3]] * 400, depart, until_s=1500)
    # flow everywhere settles at the slow link's capacity, and density on the congested branch
    late = (record.exit_ms > 1_200_000) & (record.link == 1)
    assert late.sum() / 300 == pytest.approx(slow, rel=0.02)
    congested = JAM - slow / WAVE
    assert record.streets.link_vehicles[1] == pytest.approx(congested * 300, abs=1.0)


def test_merge_shares_by_capacity_and_keeps_capacity() -> None:
    road = merge(main_lanes=2, ramp_lanes=1, down_lanes=1)
    n = 2500
    depart = np.repeat(np.arange(n) * 0.5, 2)
    record = drive(road, [[0, 2], [1, 2]] * n, depart, until_s=2400)
    late = record.exit_ms > 600_000
    main, ramp = ((record.link == i) & late for i in (0, 1))
    capacity = 1 / (S.tau_s + S.spacing_m / (100 / 3.6))
    assert (main.sum() + ramp.sum()) / 1800 == pytest.approx(capacity, rel=0.005)
    assert main.sum() / ramp.sum() == pytest.approx(2.0, rel=0.02)


def test_uncongested_merge_delays_nobody_for_long() -> None:
    road = merge(main_lanes=1, ramp_lanes=1, down_lanes=1)
    depart = np.repeat(np.arange(300) * 10.0, 2) + np.tile([0.0, 5.0], 300)
    record = drive(road, [[0, 2], [1, 2]] * 300, depart, until_s=4000)
    free = np.rint(road.link_free_s * 1000)[[0, 2]].sum()
    assert (record.arrive_ms - depart * 1000 - free).max() <= 2


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


def test_signal_uniform_delay() -> None:
    # uniform delay C(1-g)²/2(1-y) of fluid arrivals; a car's front leaves one headway before the fluid's whole car
    town = grid(3, 3, length_m=400.0, signals=True)
    settings = TrafficSettings()
    start, stop = signal_plan(town, settings)
    middle = 4
    into = np.flatnonzero((town.link_to == middle) & (stop > start))[0]
    node = town.link_to[into]
    out = [k for k in range(town.out_ptr[node], town.out_ptr[node + 1]) if town.link_to[k] != town.link_from[into]][0]
    cycle = float(settings.signal_cycle_s)
    green = (stop[into] - start[into]) / 1000
    # a rate that falls into every phase of the cycle
    rate = 0.1037
    depart = np.arange(900) / rate
    record = drive(town, [[into, out]] * len(depart), depart, until_s=9000)
    here = record.link == into
    free = np.rint(town.link_free_s[into] * 1000)
    delay = (record.exit_ms[here] - record.enter_ms[here] - free).mean() / 1000
    share, load = green / cycle, rate / CAPACITY
    queued = (1 - share) / (1 - load)
    assert delay == pytest.approx(cycle * (1 - share) ** 2 / (2 * (1 - load)) - queued / CAPACITY, rel=0.01)


def test_ring_gridlock_is_named_turned_and_nobody_is_lost() -> None:
    # a roundabout so full that every head waits for the next link, and nobody can leave it
    road = ring(4, length_m=15.0)
    cars = 8
    routes = [(i % 4 + np.arange(41)) % 4 for i in range(cars)]
    record = drive(road, routes, np.zeros(cars), until_s=30_000)
    turned, moved = record.streets.rings_turned
    assert turned > 0 and moved == 4 * turned
    assert (record.arrive_ms >= 0).all()


def test_short_links_keep_capacity() -> None:
    # storage of 1.6 vehicles must not throttle the street
    road = corridor(30, length_m=12.0)
    record = drive(road, [np.arange(30)] * 400, np.zeros(400), until_s=1200)
    assert np.diff(record.exits(29)).mean() / 1000 == pytest.approx(1 / CAPACITY, rel=0.005)


def test_tick_length_changes_nothing() -> None:
    rng = np.random.default_rng(5)
    town = grid(4, 4, length_m=100.0, signals=True)
    routes = [random_walk(town, rng, 15) for _ in range(400)]
    depart = rng.random(400) * 120
    a = drive(town, routes, depart, until_s=1800, tick_s=60)
    b = drive(town, routes, depart, until_s=1800, tick_s=1)
    assert np.array_equal(a.arrive_ms, b.arrive_ms)
    assert np.array_equal(a.exit_ms, b.exit_ms) and np.array_equal(a.car, b.car)
