"""A sample of the population: fewer rows on streets that carry and hold so much less, and the same travel times."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from maps.toy import corridor, grid, toy_city
from tests.bench.samples import travel_s
from tests.traffic_runs import drive
from twin.chance import Stream, chance
from twin.demand.other_traffic import OtherTraffic
from twin.settings import DemandSettings, TrafficSettings
from twin.traffic.engine import LinkPhysics, Streets
from twin.traffic.routing import Router

FULL = TrafficSettings()
V = 50 / 3.6
CAPACITY = 1 / (FULL.tau_s + FULL.spacing_m / V)


def of(sample: float) -> TrafficSettings:
    return TrafficSettings(sample=sample)


@pytest.mark.parametrize("sample", [0.25, 0.1, 0.01])
def test_streets_carry_and_hold_a_share(sample: float) -> None:
    road = corridor(2, length_m=3000.0, lanes=2)
    full, part = LinkPhysics.of(road, FULL), LinkPhysics.of(road, of(sample))
    assert part.headway_us * sample == pytest.approx(full.headway_us, rel=1e-5)
    assert part.storage == pytest.approx(full.storage * sample)
    assert np.array_equal(part.free_ms, full.free_ms) and np.array_equal(part.wave_ms, full.wave_ms)


def queue_delay(sample: float, settings: TrafficSettings) -> float:
    """Mean delay of vehicles that come at 1.5 times the capacity of one lane for ten minutes, s."""
    road = corridor(2, length_m=4000.0, speed_kmh=50.0)
    depart = np.arange(round(1.5 * CAPACITY * 600 * sample)) / (1.5 * CAPACITY * sample)
    record = drive(road, [[0, 1]] * len(depart), depart, until_s=7200, settings=settings)
    return float((record.arrive_ms / 1000 - depart - 2 * 4000 / V).mean())


@pytest.mark.parametrize("sample", [1.0, 0.25, 0.1])
def test_a_queue_delays_as_long_with_fewer_rows(sample: float) -> None:
    """T(λ − μ)/2μ = 150 s at a bottleneck, but for half the time of one row at the ends of the queue."""
    one_row = 1 / (CAPACITY * sample)
    assert queue_delay(sample, of(sample)) == pytest.approx(150.0, abs=one_row / 2 + 1.5)


def test_a_sample_without_smaller_streets_meets_no_queue() -> None:
    # otherwise the test above would not say anything
    assert queue_delay(0.1, FULL) < 5


def test_travel_times_in_a_busy_town() -> None:
    """Known and held: a quarter of the cars is nearly as good as all of them, a tenth is a little slower."""
    network = grid(8, 8, length_m=250.0, lanes=2, signals=True)
    rng = np.random.default_rng(2)
    n = 12_000
    depart = np.sort(rng.integers(0, 3_600_000, n))
    free = LinkPhysics.of(network, FULL).free_ms
    start, goal = rng.integers(network.n_nodes, size=(2, n))
    routes = Router(network, free).routes(start, goal, free)
    routes, depart = routes.only(routes.found), depart[routes.found]
    u = chance(1, Stream.OTHER_TRAFFIC, np.arange(len(depart)))
    whole = travel_s(network, FULL, depart, routes)
    assert np.isfinite(whole).all()
    worse = []
    for sample in (0.25, 0.1):
        kept = np.flatnonzero(u < sample)
        took = travel_s(network, of(sample), depart[kept], routes.take(kept))
        assert np.isfinite(took).all()
        worse.append(took.mean() / whole[kept].mean() - 1)
    assert abs(worse[0]) < 0.03 and 0 < worse[1] < 0.08
    assert abs(worse[0]) < worse[1]


def test_demand_is_sampled_too() -> None:
    """A fleet car is a row like any other: with fewer other cars it takes as many of their trips away."""
    city = toy_city(7, homes=100)
    many, few = (
        OtherTraffic(city, DemandSettings(), market="japan", seed=1, start=None, fleet_cars=cars, sample=sample)
        for cars, sample in ((40, 1.0), (10, 0.25))
    )
    assert few.trips_per_weekday == pytest.approx(many.trips_per_weekday / 4)
    assert len(few.trips(0, 86_400_000).pair) == pytest.approx(many.trips_per_weekday / 4, rel=0.1)


def test_rows_of_a_sample_stand_as_far_apart_as_they_count() -> None:
    road = corridor(1, length_m=1000.0, speed_kmh=50.0)
    streets = Streets(road, of(0.1), 30)
    assert streets.physics.storage[0] == pytest.approx(1000 / 75)


@pytest.mark.parametrize("sample", [0.0, -0.1, 1.5, float("nan")])
def test_no_sample_of_nothing(sample: float) -> None:
    with pytest.raises(ValidationError):
        TrafficSettings(sample=sample)
