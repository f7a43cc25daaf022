"""An operator's prices and caps, drivers who weigh prices, sockets held for cars on their way, hours of the map."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import simpy

from maps.opening import opening_spans, price_per_kwh
from maps.toy import toy_city
from tests.charging_cases import KWH, closed, electric_fleet, make, run, site_of
from twin.agents import DIRECT, ElectricCar, Operator, TripQuestion
from twin.charging.charging import Charging
from twin.charging.operation import SiteAnswer, SiteQuestion
from twin.charging.site import ChargingError, SiteKind
from twin.model import Twin
from twin.settings import ChargingSettings, DemandSettings, FleetSettings, TrafficSettings

HOUR, MINUTE = 3_600_000, 60_000
CITY = toy_city(4, homes=60)


# ---------------------------------------------------------------- operator


class Idle:
    """A world of one charging room, as the operator sees it."""

    def __init__(self, **settings: object) -> None:
        self.settings = ChargingSettings(**settings)
        self.world = self
        self.charging = self
        self.model = self


def answer_of(question: SiteQuestion, **settings: object) -> SiteAnswer | None:
    return Operator.decide(Idle(**settings), question)  # type: ignore[arg-type]


def question(utilisation: list[float], waiting: list[int]) -> SiteQuestion:
    n = len(utilisation)
    return SiteQuestion(np.arange(n), np.array(utilisation), np.array(waiting), np.full(n, 20.0), np.full(n, 100.0))


def test_price_and_cap_follow_utilisation():
    found = answer_of(
        question([0.0, 0.5, 1.0, 1.0], [0, 0, 0, 2]), operator="utilisation", price_swing=0.2, quiet_cap=0.6
    )
    assert found is not None
    assert found.price.tolist() == pytest.approx([16.0, 20.0, 24.0, 24.0])
    assert found.cap_kw.tolist() == pytest.approx([60.0, 60.0, 60.0, 100.0])
    assert answer_of(question([1.0], [3])) is None


def test_a_busy_site_is_dearer_and_a_quiet_one_draws_less():
    """Two cars of 50 kW at a site of two sockets that may draw 0.3 of its cap: 0.3 of the energy in ten minutes."""
    energy = []
    for settings in ({}, {"operator": "utilisation", "quiet_cap": 0.3, "price_swing": 0.5}):
        charging = make(electric_fleet(1, model=1, kwh=100.0, soc=0.0), handshake_s=0.0, **settings)
        site = site_of(charging, SiteKind.FAST)
        charging.sites.cap_kw[site] = 50.0
        decide = lambda q, c=charging: answer_of(q, **c.settings.model_dump(exclude_unset=True))
        charging.arrive(0, site, 0, -1, 90 * KWH)
        for t0 in range(0, 10 * MINUTE, MINUTE):
            charging.operation.again(t0, decide)
            run(charging, t0 + MINUTE)
        energy.append(int(charging.fleet.charged_j[0]))
        usual = charging.decisions.prices[0] if np.isnan(charging.sites.price[site]) else charging.sites.price[site]
        charging.operation.again(16 * MINUTE, decide)
        u = charging.sites.socket_count[charging.sites.socket_site == site].sum()
        expected = usual * (1 + 0.5 * (2 / u - 1)) if settings else usual
        assert float(charging.operation.price(16 * MINUTE, site)) == pytest.approx(expected)
        charging.finish(10 * MINUTE)
        assert charging.table["price"][0] == pytest.approx(usual if not settings else usual * 0.5)
        assert closed(charging)
    assert energy[1] / energy[0] == pytest.approx(0.3, rel=1e-4)


@pytest.mark.parametrize(
    ("price", "cap", "words"),
    [
        (-1.0, 1.0, "price of -1"),
        (np.nan, 1.0, "price of nan"),
        (1.0, 0.0, "cap_kw of 0"),
        (1.0, 1e6, "cap_kw of 1e+06"),
    ],
)
def test_answers_that_cannot_be_name_the_site(price, cap, words):
    charging = make(electric_fleet(1))
    with pytest.raises(ChargingError, match=words.replace("+", r"\+")) as error:
        charging.operation.again(0, lambda q: SiteAnswer(np.full(len(q.site), price), np.full(len(q.site), cap)))
    assert "\n" not in str(error.value)
    with pytest.raises(ChargingError, match="the operator gave 1 values of price for"):
        charging.operation.again(HOUR, lambda q: SiteAnswer(np.ones(1), np.ones(1)))


def test_an_operator_of_ones_own_is_asked_every_quarter_of_an_hour():
    class Gratis(Operator):
        asked = 0

        def decide(self, question: SiteQuestion) -> SiteAnswer:
            type(self).asked += 1
            return SiteAnswer(np.zeros(len(question.site)), question.cap_kw)

    twin = Twin(
        CITY, until_s=3600, operator=Gratis, fleet=FleetSettings(cars=5), demand=DemandSettings(other_traffic=0.0)
    )
    while not twin.world.done:
        twin.step()
    assert Gratis.asked == 4
    charging = twin.world.charging
    public = charging.sites.site_kind >= SiteKind.PUBLIC
    assert (charging.operation.price(0, np.flatnonzero(public)) == 0).all()


# ---------------------------------------------------------------- drivers


def choice(price: list[float], value: float) -> int:
    two = np.ones((1, 2))
    asked = TripQuestion(
        rows=np.zeros(1, np.int64), battery_j=np.array([10 * KWH]), capacity_j=np.array([40 * KWH]),
        need_j=np.array([9 * KWH]), charges_at_goal=np.zeros(1, bool), site=np.array([[4, 7]], np.int32),
        reach_j=np.ones((1, 2), np.int64), kw=50 * two, wait_s=np.array([[0.0, 600.0]]), detour_m=0 * two,
        detour_s=0 * two, driving=np.zeros(1, bool),
        u=np.zeros(1), on_way=np.zeros((1, 2), np.bool_), price=np.array([price]), value_of_time=np.array([value]),
    )  # fmt: skip
    return int(ElectricCar.decide(asked)[0])


def test_drivers_wait_ten_minutes_when_that_saves_more_than_their_time():
    """Ten minutes at 1,800 an hour are 300; 15 kWh at 19 less save 285, at 21 less 315."""
    assert choice([40.0, 0.0], np.inf) == 0
    assert choice([40.0, 21.0], 1800.0) == 0
    assert choice([40.0, 19.0], 1800.0) == 1
    assert choice([40.0, 40.0], 1800.0) == 0
    assert DIRECT not in (choice([0.0, 0.0], 1.0), choice([9.0, 0.0], 1.0))


# ---------------------------------------------------------------- reservations


def ready(cars: int, *, sockets: int = 1, hold_min: float = 20.0, **settings: object) -> tuple[Charging, int, int]:
    """Cars of CCS and a fast site with so many CCS sockets; the site and its group of sockets."""
    fleet = electric_fleet(cars, model=1, kwh=100.0, soc=0.1)
    charging = make(fleet, handshake_s=0.0, reserve_min=hold_min, **settings)
    site = site_of(charging, SiteKind.FAST)
    group = charging.choice.sockets(0, site)[0]
    charging.sites.socket_count[group] = sockets
    return charging, site, group


def test_a_held_socket_is_kept_for_its_car_and_others_wait():
    charging, site, group = ready(2, balk_min=90.0, patience_min=90.0)
    charging.reservations.ask([0], [site])
    assert charging.reservations.holds()[0][1] == group
    charging.arrive(1, site, MINUTE, -1, 12 * KWH)
    charging.arrive(0, site, 5 * MINUTE, -1, 12 * KWH)
    run(charging, 30 * MINUTE)
    charging.finish(30 * MINUTE)
    plugged = dict(zip(charging.table["car_id"], charging.table["plugged_s"], strict=True))
    assert plugged[0] == 300.0
    assert plugged[1] > 300.0
    wait = dict(zip(charging.table["car_id"], charging.table["wait_s"], strict=True))
    assert wait[0] == 0.0
    assert charging.reservations.used == 1
    assert closed(charging)


def test_time_is_up_to_the_millisecond_and_the_next_car_moves_up():
    charging, site, _ = ready(2, hold_min=10.0, balk_min=90.0, patience_min=90.0)
    charging.reservations.ask([0], [site])
    charging.arrive(1, site, MINUTE, -1, 12 * KWH)
    run(charging, 11 * MINUTE)
    assert charging.reservations.expired == 1
    charging.arrive(0, site, 11 * MINUTE, -1, 12 * KWH)
    run(charging, 40 * MINUTE)
    charging.finish(40 * MINUTE)
    plugged = dict(zip(charging.table["car_id"], charging.table["plugged_s"], strict=True))
    assert plugged[1] == 600.0
    assert plugged[0] > 660.0
    assert charging.queues.taken.sum() == 0
    assert charging.queues.plugged_sum_ms.sum() == 0
    assert closed(charging)


def test_without_a_free_socket_there_is_no_reservation_and_a_second_one_gives_up_the_first():
    charging, site, group = ready(3)
    charging.reservations.ask([0, 1], [site, site])
    assert (charging.reservations.made, charging.reservations.refused) == (1, 1)
    charging.reservations.ask([0], [site])
    assert (charging.reservations.made, charging.reservations.given_up) == (2, 1)
    assert charging.queues.taken[group] == 1
    run(charging, MINUTE)
    assert closed(charging)


def test_a_held_socket_that_breaks_is_lost():
    charging, site, group = ready(1)
    charging.reservations.ask([0], [site])
    charging.queues.resize(group, 1)
    charging.arrive(0, site, MINUTE, -1, 12 * KWH)
    run(charging, 2 * MINUTE)
    assert charging.table["outcome"].tolist() == ["broken"]
    assert charging.reservations.given_up == 1
    assert closed(charging)


def rush(*, revive: bool) -> Charging:
    rng = np.random.default_rng(5)
    n = 22
    charging, site, _ = ready(n, sockets=2, hold_min=8.0, balk_min=60.0)
    at = np.sort(rng.integers(10 * MINUTE, 6 * HOUR, n))
    ask = at - rng.integers(MINUTE, 10 * MINUTE, n)
    for t0 in range(0, 7 * HOUR, 5 * MINUTE):
        if revive:
            charging.revive(simpy.Environment(initial_time=t0))
        now = np.flatnonzero((ask >= t0) & (ask < t0 + 5 * MINUTE) & (charging.car_session < 0) & (at >= t0))
        charging.reservations.ask(now, np.full(len(now), site))
        now = np.flatnonzero((at >= t0) & (at < t0 + 5 * MINUTE))
        charging.arrive(now, site, at[now], -1, 20 * KWH)
        charging.flow(t0, t0 + 5 * MINUTE)
        charging.sessions.env.run(until=t0 + 5 * MINUTE)
        charging.released()
        assert closed(charging)
    charging.finish(7 * HOUR)
    return charging


def test_reservations_survive_a_new_environment_at_every_tick():
    one, other = rush(revive=False), rush(revive=True)
    for c in (one, other):
        assert min(c.reservations.used, c.reservations.expired, c.reservations.refused) > 0
    for name in ("car_id", "plugged_s", "energy_kwh", "wait_s"):
        np.testing.assert_array_equal(one.table[name], other.table[name])


def test_a_run_with_reservations_closes_its_ledgers():
    twin = Twin(
        CITY,
        until_s=10 * 3600,
        fleet=FleetSettings(cars=40, bev=1.0, epower=0.0),
        demand=DemandSettings(other_traffic=0.0),
        traffic=TrafficSettings(tick_s=300),
        charging=ChargingSettings(
            home_access=0.0, work_access=0.0, reserve_min=30.0, operator="utilisation", value_of_time=2000.0
        ),
    )
    while not twin.world.done:
        twin.step()
    twin.world.finish()
    assert {name: value for name, value in twin.world.ledger().items() if value} == {}
    r = twin.world.charging.reservations
    assert r.used > 0
    assert r.made == r.used + r.expired + r.given_up + len(r.holds())


# ---------------------------------------------------------------- tags of the map


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("24/7", [[0, 672]]),
        ("Mo-Su 06:00-22:00; PH off", [[24 + 96 * d, 88 + 96 * d] for d in range(7)]),
        (
            "Mo-Fr 08:00-12:00,13:00-18:00",
            [[a + 96 * d, b + 96 * d] for d in range(5) for a, b in ((32, 48), (52, 72))],
        ),
        ("Mo-Sa 08:00-18:00; We off", [[32 + 96 * d, 72 + 96 * d] for d in (0, 1, 3, 4, 5)]),
        ("Su 22:00-02:00", [[0, 8], [664, 672]]),
        ("Sa-Mo 10:00-11:00", [[40, 44], [520, 524], [616, 620]]),
        ("08:10-09:00", [[33 + 96 * d, 36 + 96 * d] for d in range(7)]),
        ("closed", []),
        ("sunrise-sunset", None),
        ("Mo-Fr 8-18", None),
        ("Jan-Mar 08:00-18:00", None),
        ("", None),
        ("99:00-101:00", None),
    ],
)
def test_opening_hours_of_the_map(text, spans):
    assert opening_spans(text) == spans


def test_prices_of_the_map():
    assert price_per_kwh({"fee": "yes"}) is None
    assert price_per_kwh({"charge": "0.59 EUR/kWh"}) == 0.59
    assert price_per_kwh({"charge": "1 EUR/h"}) is None


def test_stations_of_the_map_keep_their_hours_operator_and_price():
    meta = {
        **CITY.meta,
        "charger_operators": ["A", "", "C"],
        "charger_open": [[[32, 72]], None, []],
        "charger_prices": [0.4, None, 0.0],
    }
    charging = make(
        electric_fleet(1, model=1), city=dataclasses.replace(CITY, meta=meta), home_access=0.0, work_access=0.0
    )
    sites = charging.sites
    by_station = {sites.name[i]: i for i in range(len(sites))}
    first, second, third = (by_station[name] for name in CITY.charger_names)
    assert [sites.operator[i] for i in (first, second, third)] == ["A", "", "C"]
    assert sites.open_slots[first].nonzero()[0].tolist() == list(range(32, 72))
    assert (sites.open_slots[second].all(), sites.open_slots[third].any()) == (True, False)
    assert sites.price[[first, third]].tolist() == [0.4, 0.0]
    assert np.isnan(sites.price[second])


def test_hours_follow_the_day_of_the_week():
    """Open on Monday only: a car that comes at noon is let in on a Monday and turned away on a Tuesday."""
    meta = {**CITY.meta, "charger_open": [[[0, 96]]] * 3}
    city = dataclasses.replace(CITY, meta=meta)
    shown = []
    for weekday in (0, 1, 6):
        charging = make(electric_fleet(1, model=1), city=city, start_weekday=weekday, start_h=23.0)
        shown.append([bool((charging.candidates(0, 0)[0] >= 0).any())])
        run(charging, 2 * HOUR, tick_ms=HOUR)
        shown[-1].append(bool((charging.candidates(0, 0)[0] >= 0).any()))
    assert shown == [[True, False], [False, False], [False, True]]
