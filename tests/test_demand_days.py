"""Days of the fleet's cars: chains, shares, hours and distances against the facts they are made from."""

from __future__ import annotations

from datetime import datetime
from functools import cache

import numpy as np
import pytest

from maps.network import CityMap
from maps.toy import toy_city
from twin.chance import Stream, chance
from twin.demand import kernels
from twin.demand.calendar import Calendar
from twin.demand.days import PURPOSES, DayPlan, Demand
from twin.demand.distance import fastest
from twin.demand.market import WEEKEND, DemandError, habits
from twin.fleet.fleet import Fleet
from twin.settings import DemandSettings

WEDNESDAY = datetime(2022, 10, 12)
SATURDAY = datetime(2022, 10, 15)
MARKETS = ("japan", "europe", "us")


@cache
def town() -> CityMap:
    return toy_city(24, length_m=300, homes=1500, rings_km=(2.0, 5.0, 10.0, 20.0, 40.0))


def cars(city: CityMap, size: int, *, working: float = 0.9, seed: int = 3) -> Fleet:
    """Cars at random homes, with random workplaces of which a fifth lie outside."""
    fleet, rng = Fleet(size), np.random.default_rng(seed)
    fleet.home_node[:] = city.place_node[rng.choice(city.places("home"), size)]
    fleet.work_node[:] = city.place_node[rng.choice(city.places("work"), size)]
    away = rng.random(size) < 0.2
    fleet.work_node[away] = rng.choice(city.outside_node[city.outside_km <= 20], away.sum())
    fleet.work_node[rng.random(size) >= working] = -1
    return fleet


@cache
def demand(market: str, *, size: int = 30_000, start: datetime | None = WEDNESDAY, seed: int = 1) -> Demand:
    return Demand(town(), cars(town(), size), DemandSettings(), market=market, seed=seed, start=start)


def chain_faults(plan: DayPlan, at: np.ndarray, *, night: bool = False) -> str:
    """What is wrong with a plan for cars that are at nodes `at`; empty when nothing is. Moves `at` on.

    With `night`, chains of the evening before may end among the rows.
    """
    if (plan.from_node == plan.to_node).any():
        return "a trip leads nowhere"
    same = plan.car[1:] == plan.car[:-1]
    if (np.diff(plan.car) < 0).any() or (np.diff(plan.depart_ms)[same] <= 0).any():
        return "rows are not in order of car and time"
    if (plan.to_node[:-1][same] != plan.from_node[1:][same]).any():
        return "a chain jumps"
    first, last = np.append(True, ~same), np.append(~same, True)
    if (at[plan.car[first]] != plan.from_node[first]).any():
        return "a chain begins where the car is not"
    if (plan.stay_ms[last] != -1).any() or (plan.stay_ms < -1).any():
        return "a stay is negative"
    if not night and (plan.stay_ms[~last] < 0).any():
        return "a chain ends twice"
    at[plan.car[last]] = plan.to_node[last]
    return ""


@pytest.mark.parametrize("market", MARKETS)
def test_a_car_goes_on_where_it_was_left_day_after_day(market: str) -> None:
    plans = demand(market)
    at = plans.nodes_at_start()
    end = np.full(plans.size, -1)
    for day in range(5):  # Wednesday to Sunday
        plan = plans.plan_day(day)
        assert chain_faults(plan, at, night=day == 0) == ""
        # the chain of the day before has left its last stop before this one begins
        assert (plan.depart_ms >= end[plan.car]).all()
        end[plan.car] = plan.depart_ms
        assert len(plan) > plans.size
    assert (at == cars(town(), plans.size).home_node).all()  # all are home again


@pytest.mark.parametrize("market", MARKETS)
@pytest.mark.parametrize("day", [1, 3])
def test_moving_cars_trips_and_kilometres_are_the_markets(market: str, day: int) -> None:
    plans, plan = demand(market), demand(market).plan_day(day)
    day_habits = habits(market, day_kind=plans.day_kind(day))
    moving = plans.moves(day)
    assert moving.mean() == pytest.approx(day_habits.moving, abs=4 * np.sqrt(0.25 / plans.size))
    assert len(plan) / moving.sum() == pytest.approx(day_habits.trips, rel=0.03)
    assert plan.km.sum() / moving.sum() == pytest.approx(day_habits.day_km, rel=0.05)
    assert set(np.unique(plan.car)) <= set(np.flatnonzero(moving))


def test_japanese_month_is_370_km() -> None:
    """V10: kilometres per month over all cars, 245 weekdays and 120 other days a year."""
    plans = demand("japan")
    weekday, weekend = (plans.plan_day(day).km.sum() / plans.size for day in (1, 3))
    assert (245 * weekday + 120 * weekend) / 12 == pytest.approx(370, rel=0.1)


@pytest.mark.parametrize("market", MARKETS)
@pytest.mark.parametrize("day", [1, 4])
def test_trips_start_at_the_hours_of_the_market(market: str, day: int) -> None:
    plans, plan = demand(market), demand(market).plan_day(day)
    hour = plan.depart_ms // 3_600_000 % 24
    share = np.bincount(hour, minlength=24) / len(plan)
    assert np.abs(share - habits(market, day_kind=plans.day_kind(day)).start_share).max() < 0.02


def test_us_peak_hours() -> None:
    """V11: shares of weekday trip starts in the hours 7, 8, 16, 17 and 18."""
    hour = demand("us").plan_day(1).depart_ms // 3_600_000 % 24
    share = np.bincount(hour, minlength=24) / len(hour)
    assert share[[7, 8, 16, 17, 18]] == pytest.approx([0.077, 0.059, 0.078, 0.086, 0.074], abs=0.01)


def test_us_leaf_trip_and_day() -> None:
    """V08: 11.1 km per trip and 48.8 km per driven day."""
    plan = demand("us").plan_day(1)
    assert float(plan.km.mean()) == pytest.approx(11.1, rel=0.1)
    assert plan.km.sum() / len(np.unique(plan.car)) == pytest.approx(48.8, rel=0.1)


def test_distances_on_the_network_are_those_wanted() -> None:
    """Realised metres of fastest paths against the planner's estimate and against what was looked for."""
    city, plan = town(), demand("us").plan_day(1)
    some = plan.take(np.random.default_rng(1).choice(len(plan), 6000, replace=False))
    start, row = np.unique(some.from_node, return_inverse=True)
    real_km = fastest(city.network, start)[0][row, some.to_node] / 1000
    assert np.isfinite(real_km).all()
    assert real_km.mean() == pytest.approx(float(some.km.mean()), rel=0.05)
    home = cars(city, 30_000).home_node
    direct = np.isin(some.purpose, [2, 3, 4]) & (some.from_node == home[some.car]) & (some.wanted_km < 45)
    assert direct.sum() > 500
    assert real_km[direct].mean() == pytest.approx(float(some.wanted_km[direct].mean()), rel=0.1)
    for q in (0.25, 0.5, 0.75):
        assert np.quantile(real_km[direct], q) == pytest.approx(np.quantile(some.wanted_km[direct], q), rel=0.15)


@pytest.mark.data
def test_kyoto_distances_are_those_wanted() -> None:
    """On the real network, trips from home to a stop are as long as intended: mean within 10 %."""
    from maps.build import build_map
    from maps.get import data_folder

    folder = data_folder()
    if folder is None or not (folder / "osm" / "kyoto_fushimi_2021.osm.pbf").is_file():
        pytest.skip(f"needs osm/kyoto_fushimi_2021.osm.pbf in the data folder (TWIN_DATA), looked in {folder}")
    city = build_map("kyoto", cache=None)
    fleet = cars(city, 20_000)
    plans = Demand(city, fleet, DemandSettings(), market="japan", seed=1, start=WEDNESDAY)
    plan = plans.plan_day(1)
    some = plan.take(np.isin(plan.from_node, np.unique(plan.from_node)[::5]))
    start, row = np.unique(some.from_node, return_inverse=True)
    real_km = fastest(city.network, start)[0][row, some.to_node] / 1000
    assert np.isfinite(real_km).all()
    assert real_km.mean() == pytest.approx(float(some.km.mean()), rel=0.1)
    direct = (some.purpose >= PURPOSES.index("shop")) & (some.from_node == fleet.home_node[some.car])
    direct &= some.wanted_km < 45  # the farthest approach road ends at 40 km
    assert direct.sum() > 1000
    assert real_km[direct].mean() == pytest.approx(float(some.wanted_km[direct].mean()), rel=0.1)


def test_commuters_have_a_workplace_and_rest_at_weekends() -> None:
    city, fleet = town(), cars(town(), 5000, working=0.3)
    plans = Demand(city, fleet, DemandSettings(), market="us", seed=1, start=WEDNESDAY)
    commuter = plans.archetype == 0
    assert (fleet.work_node[commuter] >= 0).all()
    assert commuter.mean() == pytest.approx(np.mean((fleet.work_node >= 0) & (fleet.work_node != fleet.home_node)))
    work = PURPOSES.index("work")
    weekday, saturday = plans.plan_day(1), plans.plan_day(3)
    assert (weekday.to_node[weekday.purpose == work] == fleet.work_node[weekday.car[weekday.purpose == work]]).all()
    assert (weekday.purpose == work).sum() > 500
    assert (saturday.purpose == work).sum() == 0


def test_commuters_leave_at_the_mean_of_the_facts() -> None:
    plans = demand("japan")
    plan = plans.plan_day(1)
    first = np.append(True, plan.car[1:] != plan.car[:-1])
    to_work = first & (plan.purpose == PURPOSES.index("work"))
    facts = habits("japan").archetype["commuter"]
    odd = chance(plans.seed, Stream.DEPART, plan.car[to_work], kernels.ODD_HOURS) < plans.habits[0].odd_share
    assert odd.mean() == pytest.approx(plans.habits[0].odd_share, abs=0.03)
    hours = plan.depart_ms[to_work] / 3_600_000 - 24
    assert ((hours[odd] < 6) | (hours[odd] >= 9)).mean() > 0.95  # the few that are late for their evening start earlier
    hours = hours[~odd]
    assert hours.mean() == pytest.approx(facts["depart_mean_h"], abs=0.05)
    assert hours.std() == pytest.approx(facts["depart_sd_h"], rel=0.06)  # cut at 2.5 deviations


def test_shares_of_moving_cars_can_be_set() -> None:
    city, fleet = town(), cars(town(), 4000)

    def moving(share: float) -> np.ndarray:
        settings = DemandSettings(moving=share)
        return Demand(city, fleet, settings, market="japan", seed=1, start=WEDNESDAY).moves(0)

    assert not moving(0).any()
    assert moving(1).all()
    low, high = moving(0.3), moving(0.8)
    assert (low.mean(), high.mean()) == pytest.approx((0.3, 0.8), abs=0.03)
    assert (low <= high).all()  # more driving only adds cars
    nobody = Demand(city, fleet, DemandSettings(moving=0), market="japan", seed=1, start=WEDNESDAY).plan_day(0)
    assert len(nobody) == 0


def test_start_at_noon_is_the_afternoon_of_the_same_day() -> None:
    city, fleet = town(), cars(town(), 3000)
    noon_ms = 12 * 3_600_000
    midnight, noon = (
        Demand(city, fleet, DemandSettings(), market="europe", seed=5, start=WEDNESDAY.replace(hour=h)) for h in (0, 12)
    )
    whole, part = midnight.plan_day(0), noon.plan_day(0)
    late = whole.take(whole.depart_ms >= noon_ms)
    assert len(part) == len(late) > 1000
    assert (part.car == late.car).all()
    assert (part.depart_ms == late.depart_ms - noon_ms).all()
    assert (part.to_node == late.to_node).all()
    at = noon.nodes_at_start()
    assert (at != fleet.home_node).sum() > 500  # at noon many are out
    assert chain_faults(part, at) == ""


def test_planning_is_a_function_of_seed_and_date() -> None:
    city, fleet = town(), cars(town(), 2000)

    def make(seed: int) -> Demand:
        return Demand(city, fleet, DemandSettings(), market="us", seed=seed, start=WEDNESDAY)

    one, two = make(1), make(1)
    two.plan_day(3)  # another order of questions
    a, b, c = one.plan_day(2), two.plan_day(2), make(2).plan_day(2)
    assert (a.depart_ms == b.depart_ms).all()
    assert (a.to_node == b.to_node).all()
    assert len(a) != len(c) or (a.depart_ms != c.depart_ms).any()


def test_closed_map_keeps_journeys_inside() -> None:
    city, fleet = town(), cars(town(), 3000)
    fleet.work_node[np.isin(fleet.work_node, city.outside_node)] = -1
    outside = [
        np.isin(
            Demand(city, fleet, DemandSettings(outside=share), market="japan", seed=1, start=WEDNESDAY)
            .plan_day(0)
            .to_node,
            city.outside_node,
        ).mean()
        for share in (0.0, 0.25, 1.0)
    ]
    assert outside[0] == 0
    assert 0.02 < outside[1] < outside[2]


def test_date_decides_weekend_and_setting_only_without_date() -> None:
    assert [Calendar(SATURDAY, weekday=True).kind(day) for day in range(3)] == [1, 1, 0]
    assert [Calendar(None, weekday=False).kind(day) for day in (0, 4)] == [1, 1]
    assert Calendar(None, weekday=True).kind(5) == 0
    assert Calendar(SATURDAY.replace(hour=6), weekday=True).midnight_ms(1) == 18 * 3_600_000
    assert habits("japan", day_kind=WEEKEND).day_km == 28


def test_moving_by_archetype_adds_up() -> None:
    present = np.array([0.42, 0.42, 0.16])
    share = habits("japan").moving_by_archetype(present)
    assert share @ present == pytest.approx(0.55)
    assert share[2] == 0.15
    crowded = habits("us").moving_by_archetype(np.array([0.5, 0.3, 0.2]))  # others alone cannot reach 0.9
    assert crowded == pytest.approx([1.0, 1.0, 0.5])


def test_bad_input_is_named() -> None:
    with pytest.raises(DemandError, match=r"'mars'.*valid: japan, europe, us"):
        habits("mars")
    fleet = cars(town(), 10)
    fleet.home_node[3] = town().network.n_nodes
    with pytest.raises(DemandError, match="home_node"):
        Demand(town(), fleet, DemandSettings(), market="us", seed=1, start=WEDNESDAY)
    with pytest.raises(DemandError, match="day -1"):
        demand("us").plan_day(-1)


def test_tiny_fleet_is_fitted_like_a_large_one() -> None:
    fleet = cars(town(), 3)
    plans = Demand(town(), fleet, DemandSettings(moving=1), market="us", seed=1, start=WEDNESDAY)
    assert plans.fit(0).day_km == pytest.approx(48.8, rel=0.1)
    assert len(plans.plan_day(0)) >= 6
