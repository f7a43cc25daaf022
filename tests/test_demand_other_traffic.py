"""Traffic outside the fleet: level, hours, directions and independence of the tick."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from maps.network import OUTSIDE
from maps.toy import toy_city
from twin.demand.distance import fastest
from twin.demand.market import DemandError, habits
from twin.demand.other_traffic import INBOUND, INSIDE, OUTBOUND, THROUGH, OtherTraffic, poisson
from twin.settings import DemandSettings

WEDNESDAY = datetime(2022, 10, 12)
DAY_MS = 86_400_000
TOWN = toy_city(16, homes=800)


def others(level: float = 1.0, *, fleet_cars: int = 0, market: str = "japan", seed: int = 1, city=TOWN) -> OtherTraffic:
    return OtherTraffic(
        city, DemandSettings(other_traffic=level), market=market, seed=seed, start=WEDNESDAY, fleet_cars=fleet_cars
    )


def test_poisson_numbers_are_the_textbooks() -> None:
    u = (np.arange(2000) + 0.5) / 2000
    for mean in (0.05, 1.0, 7.3, 60.0, 900.0):
        expected = stats.poisson.ppf(u, mean)
        assert (poisson(u, np.full(len(u), mean)) == expected).all()
    assert poisson(np.array([0.0, 0.999]), np.zeros(2)).tolist() == [0, 0]
    assert poisson(np.array([0.0]), np.array([5.0])).tolist() == [0]


def test_a_day_has_the_expected_trips_at_the_markets_hours() -> None:
    traffic = others()
    trips = traffic.trips(0, DAY_MS)
    expected = traffic.trips_per_weekday
    assert len(trips.pair) == pytest.approx(expected, abs=4 * np.sqrt(expected))
    by_hour = np.bincount(trips.depart_ms // 3_600_000, minlength=24)
    wanted = expected * habits("japan").start_share
    assert (np.abs(by_hour - wanted) < 5 * np.sqrt(wanted)).all()
    assert (np.diff(trips.depart_ms) >= 0).all()


def test_window_length_changes_no_trip() -> None:
    traffic = others()
    whole = traffic.trips(7 * 3_600_000, 8 * 3_600_000)
    for step in (1_000, 60_000, 77_777, 900_000):
        edges = [*range(7 * 3_600_000, 8 * 3_600_000, step), 8 * 3_600_000]
        parts = [traffic.trips(a, b) for a, b in pairwise(edges)]
        assert (np.concatenate([p.depart_ms for p in parts]) == whole.depart_ms).all()
        assert (np.concatenate([p.pair for p in parts]) == whole.pair).all()
    assert len(traffic.trips(5, 5).pair) == 0


def test_level_is_vehicle_kilometres_of_a_normal_day() -> None:
    """Vehicles per lane and day by class, unless the mean over all lanes would pass the limit."""
    for city, limited in ((toy_city(40), False), (toy_city(5), True)):
        traffic, network = others(city=city), city.network
        lane_km = network.link_length * network.link_lanes * ~network.has(OUTSIDE) / 1000
        primary = network.link_class == 4
        normal = lane_km[primary].sum() * 6000 + lane_km[~primary].sum() * 200
        most = 600 * lane_km.sum()
        assert traffic.limited == limited == (normal > most)
        assert traffic.normal_trips * traffic.mean_inside_m / 1000 == pytest.approx(min(normal, most))


def test_vehicle_kilometres_on_fastest_paths_are_those_of_the_level() -> None:
    """The mean inside distance holds for the whole pool when every journey is routed."""
    traffic = others()
    start, row = np.unique(traffic.pair_from, return_inverse=True)
    real_m = fastest(TOWN.network, start)[0][row, traffic.pair_to]
    _, beyond_m = traffic.distances.between(traffic.pair_from, traffic.pair_to)
    assert traffic.mean_inside_m == pytest.approx((real_m - beyond_m).mean(), rel=0.1)


def test_level_zero_is_silence_and_two_is_double() -> None:
    assert len(others(0.0).trips(0, DAY_MS).pair) == 0
    assert others(2.0).trips_per_weekday == pytest.approx(2 * others(1.0).trips_per_weekday)


def test_the_fleets_own_trips_are_part_of_a_normal_day() -> None:
    alone, beside, crowd = others(), others(fleet_cars=1000), others(fleet_cars=10_000_000)
    assert alone.trips_per_weekday - beside.trips_per_weekday == pytest.approx(1000 * 0.55 * 2.4)
    assert crowd.trips_per_weekday == 0


def test_kinds_of_journeys_have_their_ends() -> None:
    traffic = others()
    beyond = traffic.distances.gate >= 0
    half = len(traffic.pair_from) // 2
    home, there, kind = traffic.pair_from[:half], traffic.pair_to[:half], traffic.pair_kind[:half]
    assert (traffic.pair_from != traffic.pair_to).all()
    assert (traffic.pair_from[half:] == there).all()
    assert (beyond[home] == np.isin(kind, [THROUGH, INBOUND])).all()
    assert (beyond[there] == np.isin(kind, [THROUGH, OUTBOUND])).all()
    assert all((kind == k).sum() > 50 for k in (INSIDE, THROUGH, INBOUND, OUTBOUND))
    gate = traffic.distances.gate
    assert (gate[home] != gate[there])[kind == THROUGH].all()


def test_mornings_lead_out_and_evenings_back_home() -> None:
    traffic = others()
    trips = traffic.trips(0, 5 * DAY_MS)
    out = trips.pair < len(traffic.pair_from) // 2
    hour = trips.depart_ms // 3_600_000 % 24
    assert out[hour == 6].mean() > 0.9
    assert out[hour == 20].mean() < 0.15
    assert out.mean() == pytest.approx(0.5, abs=0.01)


def test_map_without_gates_has_only_inner_journeys() -> None:
    closed = toy_city(8, rings_km=())
    traffic = others(city=closed)
    assert set(traffic.pair_kind) == {INSIDE}
    assert len(traffic.trips(0, DAY_MS).pair) > 100


def test_large_city_keeps_its_traffic_inside() -> None:
    small, large = others(city=toy_city(6)), others(city=toy_city(12, length_m=20_000))
    share = [np.mean(traffic.pair_kind == INSIDE) for traffic in (small, large)]
    assert share[0] < 0.1
    assert share[1] > 0.9
    assert np.mean(small.pair_kind == THROUGH) == pytest.approx(0.4, abs=0.03)  # held to the documented share


def test_journeys_in_a_large_city_have_the_markets_length() -> None:
    """A city 40 km wide: journeys inside are the market's 8.3 km on average, not as far as places lie apart."""
    traffic = others(city=toy_city(21, length_m=2000, homes=4000))
    half = len(traffic.pair_from) // 2
    inside = np.flatnonzero(traffic.pair_kind[:half] == INSIDE)
    km = sum(traffic.distances.between(traffic.pair_from[inside], traffic.pair_to[inside])) / 1000
    assert km.mean() == pytest.approx(20 / 2.4, rel=0.15)
    anywhere = (
        traffic.distances.between(traffic.pair_from[inside], traffic.pair_to[np.roll(inside, 1)])[0].mean() / 1000
    )
    assert anywhere > 20


def test_weekend_has_fewer_trips_where_fewer_cars_drive() -> None:
    europe = others(market="europe")
    assert europe.day_share(3).sum() / europe.day_share(0).sum() == pytest.approx(0.493 * 2.89 / (0.646 * 3.16))


def test_crossing_one_minute_is_uniform() -> None:
    trips = others().trips(0, DAY_MS)
    assert stats.kstest((trips.depart_ms % 60_000) / 60_000, "uniform").pvalue > 1e-4


def test_bad_input_is_named() -> None:
    with pytest.raises(DemandError, match="fleet cars"):
        others(fleet_cars=-1)
    lonely = replace(toy_city(3, rings_km=()), place_node=np.zeros(len(toy_city(3, rings_km=()).place_node), np.int32))
    with pytest.raises(DemandError, match="no two nodes"):
        others(city=lonely)
