"""Queue, patience, timers, leaving at any moment, restore: what happens to a car at a site."""

from __future__ import annotations

import numpy as np
import pytest

from maps.network import SOCKET_KINDS
from tests.charging_cases import KWH, closed, electric_fleet, make, run, site_of
from twin.charging.charging import Charging, ChargingError
from twin.charging.policies import Answer, PolicyError, Question, timer
from twin.charging.site import SiteKind
from twin.charging.visits import Outcome, Phase
from twin.fleet.fleet import State
from twin.sessions import FREE, SessionError, Sessions, Work

MINUTE = 60_000
HOUR = 60 * MINUTE


def fast_station(n: int, sockets: int = 1, **settings: float) -> tuple[Charging, int]:
    """Cars that take 50 kW whatever their charge, at a site with CCS sockets."""
    charging = make(electric_fleet(n, model=1, kwh=100.0, soc=0.0), **({"handshake_s": 0.0} | settings))
    site = site_of(charging, SiteKind.FAST)
    charging.sites.socket_count[charging.sites.socket_kind == SOCKET_KINDS.index("ccs")] = sockets
    return charging, site


def outcomes(charging: Charging) -> list[str]:
    table = charging.table
    return table["outcome"][np.argsort(table["session_id"])].tolist()


def test_a_car_balks_when_the_wait_would_be_too_long():
    """One socket, mean fast stay 23 min: the second in line expects 46 min and drives on, free at once."""
    charging, site = fast_station(3, balk_min=40.0)
    charging.arrive([0, 1, 2], site, [0, 1000, 2000], -1, 10 * KWH)
    run(charging, MINUTE)
    assert charging.fleet.state.tolist() == [State.PLUGGED, State.QUEUED, State.PARKED]
    charging.finish(MINUTE)
    assert outcomes(charging) == ["open", "open", "balked"]
    assert charging.queue_summary()["balked"] == 1
    assert closed(charging)


def test_patience_ends_in_its_millisecond_and_the_car_is_told():
    charging, site = fast_station(2, balk_min=100.0, patience_min=10.0)
    charging.arrive([0, 1], site, [0, 7], -1, 50 * KWH)
    charging.flow(0, 20 * MINUTE)
    charging.sessions.env.run(until=20 * MINUTE)
    released = charging.released()
    assert released.cars.tolist() == [1]
    assert released.at_ms.tolist() == [10 * MINUTE + 7]
    assert released.outcome.tolist() == [Outcome.RENEGED]
    assert charging.table["wait_s"].tolist() == [600.0]


@pytest.mark.parametrize(("late_ms", "outcome"), [(-1, "done"), (1, "reneged")])
def test_a_socket_freed_just_before_patience_ends_is_taken(late_ms, outcome):
    """10 minutes of patience; the socket gets free one millisecond before or after they are over."""
    charging, site = fast_station(2, balk_min=100.0, patience_min=10.0)
    charging.arrive([0, 1], site, 0, -1, (10 * MINUTE + late_ms) * 50)
    run(charging, 30 * MINUTE)
    assert outcomes(charging) == ["done", outcome]


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 1, 0, 2]])
def test_cars_of_one_millisecond_are_served_in_the_order_given(order):
    charging, site = fast_station(4, balk_min=1e6, patience_min=1e6)
    charging.arrive(order, site, 500, -1, 3 * MINUTE * 50)
    run(charging, HOUR)
    by_start = np.argsort(charging.table["plugged_s"])
    assert charging.table["car_id"][by_start].tolist() == order
    assert charging.table["wait_s"][by_start].tolist() == [0.0, 180.0, 360.0, 540.0]


def test_the_fast_limit_ends_a_session_and_a_planned_stay_goes_on_beside_the_socket():
    charging, site = fast_station(2, fast_limit_min=30.0)
    charging.arrive([0, 1], site, [0, 30 * MINUTE + 1], [5 * HOUR, -1], 100 * KWH)
    charging.flow(0, HOUR + 2)
    charging.sessions.env.run(until=HOUR + 2)
    released = charging.released()
    assert released.cars.tolist() == [1]  # car 0 has a plan: nobody needs to be told
    assert outcomes(charging) == ["limit", "limit"]
    assert charging.table["energy_kwh"].tolist() == pytest.approx([25.0, 25.0])
    assert charging.fleet.state.tolist() == [State.PARKED, State.PARKED]


def test_at_home_the_car_stays_plugged_until_it_departs():
    fleet = electric_fleet(1, soc=0.9)
    charging = make(fleet, home_access=1.0)
    charging.arrive(0, fleet.home_site[0], 0, 8 * HOUR, fleet.capacity_j[0])
    run(charging, 8 * HOUR)
    assert fleet.state[0] == State.PLUGGED
    assert fleet.battery_j[0] == fleet.capacity_j[0]
    charging.depart(0, 8 * HOUR + 20)
    assert fleet.state[0] == State.PARKED
    run(charging, 8 * HOUR + MINUTE)
    assert outcomes(charging) == ["full"]
    assert charging.table["unplugged_s"][0] == 8 * 3600 + 0.02
    assert charging.table["done_s"][0] < 3 * 3600


def test_workplace_sockets_are_shared_and_free_only_when_a_car_leaves():
    fleet = electric_fleet(2, soc=0.9)
    fleet.work_node[:] = 3
    charging = make(fleet, work_access=1.0, work_cars_per_socket=2.0)
    site = fleet.work_site[0]
    assert site == fleet.work_site[1] >= 0
    charging.arrive([0, 1], site, [0, 1], 9 * HOUR, fleet.capacity_j)
    run(charging, 6 * HOUR)
    assert fleet.state.tolist() == [State.PLUGGED, State.QUEUED]  # full long ago, but the owner is at work; no patience
    charging.depart(0, 6 * HOUR + 500)
    run(charging, 6 * HOUR + MINUTE)
    assert fleet.state.tolist() == [State.PARKED, State.PLUGGED]
    row = charging.car_session[1]
    assert charging.visits.wait_ms[row] == 6 * HOUR + 500 - 1
    assert closed(charging)


@pytest.mark.parametrize(
    ("at_ms", "outcome"), [(5 * MINUTE, "left"), (10 * MINUTE + 30_000, "done"), (20 * MINUTE, "done")]
)
def test_leaving_counts_energy_to_the_millisecond(at_ms, outcome):
    """10 minutes at 50 kW after a handshake of 30 s; the car leaves before, when and after it is done."""
    charging = make(electric_fleet(1, model=1, kwh=100.0, soc=0.0), handshake_s=30.0)
    fast = site_of(charging, SiteKind.FAST)
    charging.arrive(0, fast, 0, -1, 10 * MINUTE * 50)
    tick = 2 * MINUTE
    while (t0 := charging.sessions.now_ms) < HOUR:
        if t0 <= at_ms < t0 + tick:
            charging.depart(0, at_ms)
        charging.flow(t0, t0 + tick)
        charging.sessions.env.run(until=t0 + tick)
        charging.released()
    assert outcomes(charging) == [outcome]
    assert charging.fleet.battery_j[0] == min(10 * MINUTE, at_ms - 30_000) * 50
    assert closed(charging)


def test_leaving_the_queue_keeps_little_exact():
    charging, site = fast_station(3, balk_min=1e6, patience_min=1e6)
    charging.arrive([0, 1, 2], site, [0, 10, 20], -1, 12 * MINUTE * 50)
    run(charging, 5 * MINUTE)
    charging.depart(1, 5 * MINUTE + 777)
    assert charging.fleet.state[1] == State.PARKED
    assert closed(charging)
    run(charging, 20 * MINUTE)
    assert outcomes(charging)[1] == "left_queue"
    assert charging.queues.wait_ms[site] == 5 * MINUTE + 767 + 12 * MINUTE - 20
    charging.finish(20 * MINUTE)
    assert closed(charging)


def test_calls_that_cannot_be_are_refused():
    charging, site = fast_station(2)
    charging.fleet.model[1] = 2  # slow type 1 only
    with pytest.raises(ChargingError, match=r"car 1: no socket of site \d+ \(centre\) fits it"):
        charging.arrive(1, site, 0, -1, KWH)
    with pytest.raises(ChargingError, match="no such site"):
        charging.arrive(0, 10_000, 0, -1, KWH)
    charging.arrive(0, site, 90_000, -1, 50 * KWH)
    with pytest.raises(ChargingError, match="is at site"):
        charging.arrive(0, site, 90_000, -1, KWH)
    with pytest.raises(ChargingError, match="not there yet"):
        charging.depart(0, 80_000)
    run(charging, 3 * MINUTE)
    with pytest.raises(ChargingError, match="the moment is past"):
        charging.depart(0, 2 * MINUTE)
    charging.fleet.model[1] = 1
    with pytest.raises(ChargingError, match="queue clock"):
        charging.arrive(1, site, 5, -1, KWH)
    charging.depart([1], 3 * MINUTE)  # at no site: nothing to do


# ---------------------------------------------------------------- policies


@pytest.mark.parametrize(
    ("start_h", "arrive_h", "first_current_h"),
    [(0.0, 18.0, 23.0), (0.0, 23.5, 23.5), (12.0, 6.0, 11.0), (12.0, 15.0, 15.0), (12.0, 19.5, 35.0)],
)
def test_timer_users_start_at_the_tariff_night(start_h, arrive_h, first_current_h):
    """Hours since a start at midnight or noon; the night runs from 23:00 for 8 h; inside it nobody waits."""
    fleet = electric_fleet(1)
    charging = make(fleet, home_access=1.0, policy=None, start_h=start_h, handshake_s=0.0)
    charging.decisions.policy = timer(23.0, 8.0)
    charging.timer_user[:] = True
    charging.arrive(0, fleet.home_site[0], round(arrive_h * HOUR), 48 * HOUR, fleet.capacity_j[0])
    run(charging, 40 * HOUR, tick_ms=15 * MINUTE)
    charging.load.finish()
    assert charging.load.table["time_s"].min() == first_current_h * 3600


def test_the_timer_moves_the_peak_of_its_users_only():
    peaks = {}
    for policy in ("uncontrolled", "timer"):
        fleet = electric_fleet(200)
        charging = make(fleet, home_access=1.0, policy_name=policy)
        charging.arrive(np.arange(200), fleet.home_site, 18 * HOUR, 40 * HOUR, fleet.capacity_j)
        run(charging, 32 * HOUR, tick_ms=5 * MINUTE)
        charging.finish(32 * HOUR)
        peaks[policy] = charging.grid_summary()
    share = charging.timer_user.mean()
    assert 0.35 < share < 0.55  # facts charging: home_timer.japan 0.45
    assert peaks["uncontrolled"]["peak_time_s"] == 18.25 * 3600  # the first whole interval after the handshake
    assert peaks["uncontrolled"]["peak_kw"] == pytest.approx(1200.0, rel=1e-6)
    assert peaks["uncontrolled"]["coincidence"] == pytest.approx(1.0, rel=1e-6)
    assert peaks["timer"]["peak_kw"] == pytest.approx(1200.0 * max(share, 1 - share), rel=1e-6)
    assert peaks["timer"]["energy_kwh"] == pytest.approx(peaks["uncontrolled"]["energy_kwh"], rel=1e-6)


def test_a_policy_of_ones_own_halves_the_power():
    def half(question: Question) -> Answer:
        assert question.soc.tolist() == [0.5]
        assert question.rated_kw.tolist() == [6.0]
        return Answer(question.now_ms + 1000, np.full(1, 0.5))

    fleet = electric_fleet(1)
    charging = make(fleet, home_access=1.0, policy=half, handshake_s=0.0)
    charging.arrive(0, fleet.home_site[0], 0, 10 * HOUR, fleet.capacity_j[0])
    run(charging, 3_601_000)
    assert charging.visits.meter_j[charging.car_session[0]] == pytest.approx(3000 * 3600, abs=2)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda q: Answer(q.now_ms - 1, np.ones(1)), "before it is plugged in"),
        (lambda q: Answer(q.now_ms, np.full(1, 1.5)), "valid is above 0 to 1"),
        (lambda q: Answer(q.now_ms, np.full(1, np.nan)), "valid is above 0 to 1"),
        (lambda q: Answer(q.now_ms, np.ones(2)), "2"),
        (lambda q: Answer(q.now_ms + 0.5, np.ones(1)), "whole milliseconds"),
    ],
)
def test_nonsense_answers_are_named(answer, words):
    fleet = electric_fleet(1)
    charging = make(fleet, home_access=1.0, policy=answer)
    charging.arrive(0, fleet.home_site[0], 0, HOUR, fleet.capacity_j[0])
    with pytest.raises(PolicyError, match=words):
        run(charging, MINUTE)


# ---------------------------------------------------------------- restore and determinism


def busy_day(*, revive: bool, seed: int = 4, until: int = 6 * HOUR) -> Charging:
    """Arrivals on whole minutes (ties on purpose), short patience, departures at ticks: every phase at every cut."""
    rng = np.random.default_rng(seed)
    n = 120
    charging, site = fast_station(n, sockets=2, balk_min=60.0, patience_min=15.0, handshake_s=60.0)
    fleet = charging.fleet
    public = site_of(charging, SiteKind.PUBLIC)
    charging.sites.socket_kind[charging.sites.socket_site == public] = SOCKET_KINDS.index("type1")
    homes = fleet.home_site
    at = np.sort(rng.integers(0, until // MINUTE - 60, n)) * MINUTE
    where = np.where(
        rng.random(n) < 0.6, site, np.where(rng.random(n) < 0.5, public, np.where(homes >= 0, homes, site))
    )
    need = rng.integers(1, 40, n) * MINUTE * 50
    leave = np.where(where == site, -1, at + 100 * MINUTE)
    import simpy

    for t0 in range(0, until, 5 * MINUTE):
        t1 = t0 + 5 * MINUTE
        if revive:
            charging.revive(simpy.Environment(initial_time=t0))
        gone = np.flatnonzero((leave >= t0) & (leave < t1) & (charging.car_session >= 0))
        charging.depart(gone, leave[gone])
        now = np.flatnonzero((at >= t0) & (at < t1))
        charging.arrive(now, where[now], at[now], leave[now], need[now])
        charging.flow(t0, t1)
        charging.sessions.env.run(until=t1)
        charging.released()
        assert closed(charging)
    charging.finish(until)
    assert closed(charging)
    return charging


def test_a_new_environment_at_every_tick_changes_nothing():
    """All processes are started anew from the table before every tick; sessions and load stay the same to the bit."""
    one, other = busy_day(revive=False), busy_day(revive=True)
    assert {"done", "balked", "reneged", "left", "open"} <= set(one.table["outcome"])
    for name in one.table:
        assert np.array_equal(_known(one.table[name]), _known(other.table[name])), name
    for name in one.load.table:
        assert np.array_equal(one.load.table[name], other.load.table[name]), name


def _known(values):
    return values if values.dtype == object else np.nan_to_num(values.astype(float), nan=-1.0)


def test_same_seed_same_tables_other_seed_others():
    one, again, other = busy_day(revive=False), busy_day(revive=False), busy_day(revive=False, seed=5)
    assert all(np.array_equal(_known(one.table[c]), _known(again.table[c])) for c in one.table)
    assert not np.array_equal(one.table["asked_s"], other.table["asked_s"])


def test_ledger_notices_a_lost_joule_and_a_wrong_state():
    charging = busy_day(revive=False)
    charging.fleet.charged_j[3] += 1
    charging.fleet.state[5] = State.DRIVING if charging.car_session[5] >= 0 else State.PLUGGED
    broken = {name for name, residual in charging.ledger().items() if residual}
    assert broken == {"cars_minus_sessions_j", "cars_at_sites_without_session"}


# ---------------------------------------------------------------- the table of sessions


def test_a_session_changes_only_by_the_rules():
    sessions = Sessions(rows=1)
    seen = []

    def step(row: int) -> None:
        seen.append((sessions.now_ms, int(sessions.phase[row])))
        if sessions.phase[row] == 1:
            sessions.arm(row, 2, sessions.now_ms + 5)
        else:
            sessions.close(row)

    sessions.room(Work.INSTALL, step)
    row = sessions.open(Work.INSTALL, car=0, site=0, phase=1, due=10, asked=0)
    with pytest.raises(SessionError, match="own step"):
        sessions.close(row)
    with pytest.raises(SessionError, match="live"):
        sessions.recycle(row)
    sessions.env.run(until=12)
    with pytest.raises(SessionError, match="already"):
        sessions.arm(row, 1, 5)
    sessions.arm(row, 2, 30)  # from outside: later than planned
    other = sessions.open(Work.INSTALL, car=1, site=0, phase=2, due=-1, asked=12)  # nothing due: waits to be armed
    assert other != row
    sessions.env.run(until=100)
    assert seen == [(10, 1), (30, 2)]
    assert sessions.phase[row] == FREE
    with pytest.raises(SessionError, match="free"):
        sessions.arm(row, 1, 200)
    sessions.recycle(row)
    assert sessions.open(Work.INSTALL, car=2, site=0, phase=1, due=150, asked=100) == row
    assert len(sessions) == 2
    sessions.arm(other, 2, 150)
    sessions.env.run(until=151)
    assert seen[2:] == [(150, 2), (150, 1)] or seen[2:] == [(150, 1), (150, 2)]


def test_phases_have_steps():
    charging, _ = fast_station(1)
    assert set(charging._steps) == set(Phase) - {Phase.CHARGING, Phase.IDLE}  # those two wait for others
