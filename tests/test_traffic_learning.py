"""Days of learning: two routes in closed form, a town whose gap closes, and drivers who keep what they know."""

from __future__ import annotations

import numpy as np
import pytest

from maps.draft import draft_of
from maps.network import RoadNetwork
from maps.toy import grid, toy_city
from twin.model import Twin
from twin.settings import DemandSettings, FleetSettings, TrafficSettings
from twin.traffic.engine import LinkPhysics, Streets
from twin.traffic.learning import DAY_MS, PERIOD_MS, DayTrips, Learned, learn
from twin.traffic.route_choice import RouteChoice
from twin.traffic.routing import Router

SETTINGS = TrafficSettings()
V = 50 / 3.6
CAPACITY = 1 / (SETTINGS.tau_s + SETTINGS.spacing_m / V)  # of one lane, vehicles a second
LATER_S = 120.0
HOUR = PERIOD_MS // 1000


def two_ways() -> RoadNetwork:
    """0 → 1 → 3, where three lanes become one, and 0 → 2 → 3, wide and two minutes longer."""
    short, long = 4000.0, 4000.0 + LATER_S / 2 * V
    return draft_of(
        x=np.array([0.0, 4000.0, 4000.0, 8000.0]),
        y=np.array([0.0, 500.0, -500.0, 0.0]),
        link_from=np.array([0, 1, 0, 2]),
        link_to=np.array([1, 3, 2, 3]),
        length_m=np.array([short, short, long, long]),
        speed_mps=np.full(4, V),
        lanes=np.array([3, 1, 3, 3]),
        road_class=6,
        flags=0,
        lon0=0.0,
        lat0=0.0,
    ).finish()


def rush(rate: float, *, network: RoadNetwork, origin: int, target: int) -> DayTrips:
    """Evenly spaced trips through the first hour."""
    n = round(rate * HOUR)
    depart = np.arange(n) * PERIOD_MS // n
    one = np.ones(n, np.int32)
    return DayTrips(depart, one * origin, one * target, np.arange(n), np.zeros(n, np.int64))


def first_links(network: RoadNetwork, learned: Learned, trips: DayTrips) -> np.ndarray:
    free = LinkPhysics.of(network, SETTINGS).free_ms
    router = Router(network, free, kept=len(learned.cost_ms))
    choice = RouteChoice(router, Streets(network, SETTINGS, 0), SETTINGS, learned=learned)
    routes = choice.routes(trips.origin, trips.target, choice.known(trips.driver, trips.moment), 0)
    assert routes.found.all()
    return routes.links[routes.ptr[:-1]]


def test_two_routes_share_as_queueing_theory_says() -> None:
    """Where both ways take equally long by the hour's mean times, the short one is used above its capacity.

    Vehicles come at rate a to a server of rate μ; one that leaves the queue at time t has waited t(1 − μ/a),
    in the mean of the hour T(1 − μ/a)/2. Equal to the LATER_S of the other way: a = μ/(1 − 2 LATER_S/T).
    """
    network = two_ways()
    trips = rush(1.4 * CAPACITY, network=network, origin=0, target=3)
    days = 30
    router = Router(network, LinkPhysics.of(network, SETTINGS).free_ms)
    learned = learn(network, SETTINGS, router, trips, days=days, seed=3)
    share = float((first_links(network, learned, trips) == 0).mean())
    theory = CAPACITY / (1 - 2 * LATER_S / HOUR) / (1.4 * CAPACITY)
    assert theory == pytest.approx(0.765, abs=0.001)
    # all who look on one day choose alike, so the share comes in steps of one day's lookers
    assert share == pytest.approx(theory, abs=1 / (days + 1))
    gaps = [day.gap for day in learned.days]
    assert gaps[0] > 0.1 and np.mean(gaps[-5:]) < 0.04
    assert learned.days[-1].mean_s < learned.days[0].mean_s
    assert all(day.trips == day.arrived == len(trips.depart_ms) for day in learned.days)
    # an hour nobody drives in is known as empty
    assert np.array_equal(learned.times(days, 5 * PERIOD_MS), router_free(network))


def router_free(network: RoadNetwork) -> np.ndarray:
    return LinkPhysics.of(network, SETTINGS).free_ms


def test_a_town_comes_near_equilibrium() -> None:
    """Rush hour on a grid towards one corner: the relative gap falls to a twentieth and everybody gains."""
    network = grid(5, 5, length_m=400.0, speed_kmh=50.0)
    rng = np.random.default_rng(4)
    n = 3500
    number = np.arange(n)
    origin = rng.integers(15, size=n).astype(np.int32)
    trips = DayTrips(np.sort(rng.integers(PERIOD_MS, size=n)), origin, np.full(n, 24, np.int32), number, number * 0)
    router = Router(network, router_free(network))
    learned = learn(network, SETTINGS, router, trips, days=16, seed=1)
    first, last = learned.days[0], learned.days[-3:]
    assert first.gap > 0.2
    assert max(day.gap for day in last) < first.gap / 5
    assert max(day.mean_s for day in last) < first.mean_s


def test_who_knows_what_is_spread_over_the_days_and_never_unlearned() -> None:
    cost = np.zeros((10, 1, 1), np.int32)
    driver = np.arange(20_000)
    known = Learned(cost, [], 0, seed=1).day_of(driver)
    assert np.bincount(known, minlength=10) == pytest.approx(np.full(10, 2000), abs=200)
    before = Learned(cost[:9], [], 0, seed=1).day_of(driver)
    # one day more: a tenth has looked again, nobody else has changed
    assert np.all((known == before) | (known == 9))
    other = Learned(cost, [], 0, seed=1).day_of(driver, 77)
    assert 0.05 < (other == known).mean() < 0.2


def test_trips_without_a_way_are_counted_and_too_many_days_refused() -> None:
    network = two_ways()
    trips = rush(0.05, network=network, origin=3, target=0)
    mixed = DayTrips(
        *(np.concatenate(p) for p in zip(trips, rush(0.05, network=network, origin=0, target=3), strict=True))
    )
    mixed = mixed.take(np.argsort(mixed.depart_ms, kind="stable"))
    router = Router(network, router_free(network))
    learned = learn(network, SETTINGS, router, mixed, days=1, seed=1)
    assert (learned.unroutable, learned.days[0].trips) == (180, 180)
    with pytest.raises(ValueError, match="1 to 63"):
        learn(network, SETTINGS, router, mixed, days=64, seed=1)


def test_a_run_begins_where_its_days_of_learning_end() -> None:
    """The whole twin: the day's trips are those the run drives, and its routes those of the day after the last."""
    city = toy_city(6, homes=80)
    rooms = {"fleet": FleetSettings(cars=60), "demand": DemandSettings(other_traffic=0.5)}
    twin = Twin(city, traffic=TrafficSettings(days_of_learning=2), until_s=DAY_MS // 1000, **rooms)
    learned = twin.world.route_choice.learned
    assert learned is not None and learned.cost_ms.shape == (3, 24, city.network.n_links)
    while not twin.world.done:
        twin.step()
    twin.world.finish()
    told = twin.world.summary()["traffic"]
    assert [day["day"] for day in told["learning"]] == [1, 2]
    fleet = int((twin.world.trips.table["planned_s"] < DAY_MS / 1000).sum())
    assert told["learning"][0]["trips"] == pytest.approx(told["other_trips"] + fleet, rel=0.02)
    assert not any(twin.world.ledger().values())
