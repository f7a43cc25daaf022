"""Other people's cars: as many as the scenario says, like the real ones, and in the way of the fleet."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from maps.toy import toy_city
from tests.charging_cases import closed, electric_fleet, make, run
from twin.charging.charging import Charging
from twin.charging.site import SiteKind
from twin.charging.stays import draw

HOUR = 3_600_000
CITY = toy_city(5)


def days(*, hours: int = 48, revive: bool = False, **settings: Any) -> Charging:
    charging = make(electric_fleet(2, city=CITY), city=CITY, extra_fast_sites=6, **settings)
    run(charging, hours * HOUR, tick_ms=600_000, revive=revive)
    charging.finish(hours * HOUR)
    assert closed(charging)
    return charging


def test_as_many_come_as_are_said_and_none_by_default():
    assert days(hours=24).visitors.came == 0
    found = days(hours=10 * 24, visitors=4.0)
    sockets = int(found.sites.socket_count[found.sites.site_kind[found.sites.socket_site] >= SiteKind.PUBLIC].sum())
    expected = 10 * 4.0 * sockets
    assert abs(found.visitors.came - expected) < 4 * np.sqrt(expected)
    table = found.visitors.table
    assert len(table) == found.visitors.came and found.queue_summary()["visitors"] == len(table)
    fast = np.isin(table["connector"], ("ccs", "chademo")) & (table["outcome"] == "left")
    stays = (table["unplugged_s"] - table["plugged_s"])[fast].astype(float) / 3600
    real = draw("uk_rapid", np.arange(4000), seed=3)
    assert stays.mean() == pytest.approx(real.stay_h.mean(), rel=0.1)
    assert table["meter_kwh"][fast].astype(float).mean() == pytest.approx(real.energy_kwh.mean(), rel=0.1)
    assert np.allclose(table["wait_s"][table["outcome"] == "balked"].astype(float), 0.0)


def test_they_stand_in_the_queue_by_the_same_rules():
    busy = days(visitors=60.0, balk_min=60.0, patience_min=15.0)
    outcome = busy.visitors.table["outcome"]
    waits = busy.visitors.table["wait_s"].astype(float)
    assert {"left", "balked", "reneged"} <= set(outcome)
    assert waits.max() <= 15 * 60 and np.allclose(waits[outcome == "reneged"], 15 * 60)
    rows = np.flatnonzero(np.isfinite(busy.visitors.table["plugged_s"].astype(float)))
    for site in np.unique(busy.visitors.table["site_id"]).tolist():
        here = rows[busy.visitors.table["site_id"][rows] == site]
        begin = busy.visitors.table["plugged_s"][here].astype(float)
        end = np.nan_to_num(busy.visitors.table["unplugged_s"][here].astype(float), nan=48 * 3600.0)
        most = int(busy.sites.socket_count[busy.sites.socket_site == site].sum())
        moments = np.concatenate([begin, end])
        order = np.lexsort((np.concatenate([np.ones(len(here)), -np.ones(len(here))]), moments))
        there = np.cumsum(np.concatenate([np.ones(len(here)), -np.ones(len(here))])[order])
        assert there.max() <= most


def test_a_fleet_car_finds_the_socket_taken_and_gets_less_of_a_cap():
    fleet = electric_fleet(1, model=1, kwh=100.0, soc=0.1, city=CITY)
    charging = make(fleet, city=CITY, extra_fast_sites=1, visitors=1e-9)
    site = int(charging.sites.rows(SiteKind.FAST)[-1])
    socket = charging.choice.sockets(0, site)[0]
    charging.visitors._open(socket, 0, 0.5, 20.0)
    charging.arrive(0, site, 60_000, -1, fleet.capacity_j[0])
    run(charging, 2 * HOUR)
    charging.finish(2 * HOUR)
    assert closed(charging)
    assert charging.visitors.drawn_w(0).sum() == 0
    if charging.sites.socket_count[socket] == 1:  # CCS is taken for half an hour
        assert charging.table["outcome"][0] == "balked" or float(charging.table["wait_s"][0]) == 29 * 60


def test_a_cap_is_shared_with_visitors():
    taken = {}
    for others in (0, 1):
        fleet = electric_fleet(1, model=1, kwh=100.0, soc=0.1, city=CITY)
        charging = make(fleet, city=CITY, extra_fast_sites=1, visitors=1e-9, fast_limit_min=1000.0)
        site = int(charging.sites.rows(SiteKind.FAST)[-1])
        charging.sites.cap_kw[site] = 55.0
        mine = charging.choice.sockets(0, site)[0]
        (other,) = set(np.flatnonzero(charging.sites.socket_site == site).tolist()) - {mine}
        for _ in range(others):
            charging.visitors._open(other, 0, 1.0, 30.0)
        charging.arrive(0, site, 60_000, -1, fleet.capacity_j[0])
        run(charging, HOUR)
        taken[others] = float(charging.visits.meter_j[charging.car_session[0]]) / 3.6e6
        kw = float(charging.visitors.kw.max()) if others else 0.0
    assert 0 < taken[1] < taken[0] - 0.5 * min(kw, 30.0) * 0.5


def test_visitors_survive_a_new_environment_at_every_tick():
    settings: dict[str, Any] = {"visitors": 40.0, "balk_min": 60.0, "failures_per_1000_h": 20.0, "repair_h": 2.0}
    once, again = days(hours=24, **settings), days(hours=24, revive=True, **settings)
    assert set(once.visitors.table["outcome"]) > {"broken"}
    for name in once.visitors.table:
        a, b = once.visitors.table[name], again.visitors.table[name]
        assert np.array_equal(a, b, equal_nan=a.dtype.kind == "f"), name
