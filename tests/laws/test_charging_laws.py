"""Whatever cars do at sites, every ledger closes and no battery passes its capacity."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from maps.toy import toy_city
from tests.charging_cases import closed, electric_fleet, make
from twin.charging.site import SiteKind
from twin.fleet.fleet import State

CITY = toy_city(4, homes=60)
CARS = 12

visit = st.tuples(
    st.integers(0, CARS - 1),  # car
    st.sampled_from(["home", "work", "public", "fast"]),
    st.integers(0, 40 * 60_000),  # comes
    st.one_of(st.just(-1), st.integers(1, 120 * 60_000)),  # stays, or drives on when done
    st.floats(0.1, 1.2),  # target, part of the capacity
)


@given(
    visits=st.lists(visit, max_size=25),
    soc=st.floats(0.0, 1.0),
    tick_ms=st.sampled_from([30_000, 60_000, 400_000]),
    cap_kw=st.sampled_from([5.0, 60.0, 1e6]),
    policy=st.sampled_from(["uncontrolled", "timer"]),
    patience_min=st.floats(0.5, 30.0),
)
@settings(max_examples=25, deadline=None)
def test_all_ledgers_close(visits, soc, tick_ms, cap_kw, policy, patience_min):
    fleet = electric_fleet(CARS, soc=soc, city=CITY)
    charging = make(
        fleet, city=CITY, home_access=1.0, work_access=1.0, policy_name=policy, patience_min=patience_min, start_h=22.5
    )
    charging.sites.cap_kw = np.minimum(charging.sites.cap_kw, cap_kw)
    fast = int(charging.sites.rows(SiteKind.FAST)[0])
    slow = next(int(s) for s in charging.sites.rows(SiteKind.PUBLIC) if charging.choice.sockets(0, int(s)))
    before = fleet.battery_j.copy()
    visits = sorted(visits, key=lambda v: v[2])
    end, leave = 60 * 60_000, {}
    for t0 in range(0, end, tick_ms):
        t1 = min(t0 + tick_ms, end)
        for car, at in [(c, at) for c, at in leave.items() if at < t1]:
            charging.depart(car, max(at, t0))
            del leave[car]
        for car, where, at, stay, part in visits:
            if t0 <= at < t1 and charging.car_session[car] < 0:
                site = {"home": fleet.home_site[car], "work": fleet.work_site[car], "public": slow, "fast": fast}[where]
                charging.arrive(car, site, at, -1 if stay < 0 else at + stay, int(part * fleet.capacity_j[car]))
                leave.pop(car, None)
                if stay >= 0:
                    leave[car] = max(at + stay, t1)
        charging.flow(t0, t1)
        charging.sessions.env.run(until=t1)
        charging.released()
        assert closed(charging)
    charging.finish(end)
    assert closed(charging)
    assert (fleet.battery_j <= fleet.capacity_j).all()
    assert np.array_equal(fleet.battery_j - before, fleet.charged_j)
    assert (fleet.meter_j >= fleet.charged_j).all()
    assert np.isin(fleet.state[charging.car_session < 0], State.PARKED).all()
    table = charging.table
    assert sorted(table["session_id"]) == list(range(charging.asked))
    assert (table["soc_out"] >= table["soc_in"]).all()
    power = charging.load.table["power_kw"]
    assert (power <= charging.sites.cap_kw[charging.load.table["site_id"]] + 1e-3).all()
