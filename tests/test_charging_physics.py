"""Power and energy of a plugged car: closed forms, published charging times, exact sharing of a cap."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maps.network import SOCKET_KINDS
from tests.charging_cases import KWH, catalogue, closed, electric_fleet, make, run, site_of
from twin import facts
from twin.charging import kernels
from twin.charging.charging import ChargingError
from twin.charging.site import SiteKind

ETA = (300.0, 0.925, 0.93)
CHECKS = facts.load("vehicles")["charge_curve_checks"]
CURVES = facts.load("vehicles")["charge_curve"]


def curve_w(name: str) -> np.ndarray:
    points = np.array(CURVES[name]["points"], float)
    return np.interp(np.arange(101), points[:, 0], points[:, 1]) * 1000


def minutes(name: str, kwh: float, first: float, last: float, post_kw: float) -> float:
    capacity = kwh * KWH
    after = kernels.stretch(
        first * capacity, last * capacity, 1e6, post_kw * 1000.0, curve_w(name), capacity, True, *ETA
    )
    assert after[3]
    return after[2] / 60


def test_a_falling_curve_gives_the_logarithm():
    """P = p0 + b (E - E0): the time to E1 is ln(p1 / p0) / b."""
    curve = np.linspace(50e3, 10e3, 101)
    capacity = 40.0 * KWH
    _, _, seconds, reached = kernels.stretch(0.0, capacity, 1e9, 1e9, curve, capacity, True, *ETA)
    assert reached
    assert seconds == pytest.approx(math.log(10 / 50) / (-40e3 / capacity), rel=1e-12)


def test_a_limit_cuts_the_curve_where_they_cross():
    """50 to 10 kW under a limit of 30 kW: constant to half full, the logarithm after that."""
    curve = np.linspace(50e3, 10e3, 101)
    capacity = 40.0 * KWH
    _, metered, seconds, _ = kernels.stretch(0.0, capacity, 1e9, 30e3, curve, capacity, True, *ETA)
    assert seconds == pytest.approx(capacity / 2 / 30e3 + math.log(10 / 30) / (-40e3 / capacity), rel=1e-12)
    assert metered == pytest.approx(capacity / 0.93, rel=1e-12)


def test_stopping_early_and_going_on_changes_nothing():
    curve, capacity = curve_w("chademo_leaf40"), 39.0 * KWH
    whole = kernels.stretch(0.1 * capacity, capacity, 3000.0, 44e3, curve, capacity, True, *ETA)[0]
    part = 0.1 * capacity
    for _ in range(300):
        part = kernels.stretch(part, capacity, 10.0, 44e3, curve, capacity, True, *ETA)[0]
    assert part == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize(
    ("fact", "name", "kwh", "first", "last", "post_kw"),
    [
        ("leaf40_0_80_min", "chademo_leaf40", 38.0, 0.0, 0.8, 50.0),
        ("leaf62_10_80_min_100kw_post", "chademo_leaf62", 59.0, 0.1, 0.8, 100.0),
        (
            "leaf62_0_80_min_50kw_post",
            "chademo_leaf62",
            59.0,
            0.0,
            0.8,
            44.0,
        ),  # a 50 kW post gives 125 A: 44 kW at this battery
        ("sakura_0_80_min", "chademo_sakura", 19.5, 0.0, 0.8, 30.0),
        ("ariya87_20_80_min", "ccs_ariya87", 87.0, 0.2, 0.8, 150.0),
        ("ariya87_10_80_min", "ccs_ariya87", 87.0, 0.1, 0.8, 150.0),
    ],
)
def test_fast_charging_takes_the_published_minutes(fact, name, kwh, first, last, post_kw):
    assert minutes(name, kwh, first, last, post_kw) == pytest.approx(CHECKS[fact], abs=1.5)


@given(st.floats(10.0, 22e3), st.booleans())
@settings(max_examples=50, deadline=None)
def test_efficiency_and_its_inverse_agree(meter_w, dc):
    battery_w = kernels.battery_power(meter_w, dc, *ETA)
    assert battery_w < meter_w
    assert kernels.meter_power(battery_w, dc, *ETA) == pytest.approx(meter_w, rel=1e-9)


def test_efficiency_matches_the_measured_levels():
    known = facts.load("vehicles")["physics"]["charge_efficiency"]
    for kw, name in ((1.4, "l1_1p4kw_eta"), (3.3, "l2_3p3kw_eta"), (6.6, "l2_6p6kw_eta")):
        assert kernels.battery_power(kw * 1000, False, *ETA) / (kw * 1000) == pytest.approx(known[name], abs=0.01)


def test_home_charge_by_hand():
    """6 kW socket, 6.6 kW car, half of 39 kWh: battery power 6 x 0.925 x 6 / 6.3 kW, full after 19.5 kWh / that."""
    fleet = electric_fleet(1)
    charging = make(fleet, home_access=1.0, handshake_s=30.0)
    charging.arrive(0, fleet.home_site[0], 12_345, 80_000_000, fleet.capacity_j[0])
    run(charging, 6 * 3_600_000)
    battery_kw = 0.925 * 6 * 6 / 6.3
    row = charging.car_session[0]
    taken_ms = charging.visits.done_ms[row] - 12_345 - 30_000
    assert taken_ms == math.ceil(19.5 / battery_kw * 3_600_000)
    assert fleet.battery_j[0] == fleet.capacity_j[0]
    assert fleet.meter_j[0] == pytest.approx(6000 * taken_ms / 1000, abs=6)
    charging.finish(6 * 3_600_000)
    assert closed(charging)


@pytest.mark.parametrize("tick_ms", [1000, 60_000, 450_000])
def test_tick_length_does_not_matter(tick_ms):
    fleet = electric_fleet(3, soc=0.3)
    charging = make(fleet, home_access=1.0, interval_min=5)
    fast = site_of(charging, SiteKind.FAST)
    charging.arrive([0, 1, 2], [fleet.home_site[0], fast, fast], [500, 1700, 300_001], [-1, -1, -1], fleet.capacity_j)
    run(charging, 40 * 60_000, tick_ms=tick_ms)
    done = charging.table["done_s"][np.argsort(charging.table["session_id"])] * 1000
    assert np.rint(done).tolist() == [1700 + 30_000 + 1_800_000, 300_001 + 30_000 + 1_800_000]
    reference = [28_890_000, 0, 0]
    capacity = float(fleet.capacity_j[0])
    reference[1] = reference[2] = int(
        kernels.stretch(0.3 * capacity, capacity, 1800.0, 50e3, charging.curve_w[0], capacity, True, *ETA)[0]
    )
    assert np.abs(fleet.battery_j[1:] - np.array(reference[1:])).max() <= 1
    home_j = 0.3 * capacity + 0.925 * 6 * 6 / 6.3 * 1000 * (40 * 60 - 30.5)
    assert abs(fleet.battery_j[0] - home_j) <= 1
    load = charging.load
    load.finish()
    in_kwh = load.table["power_kw"].sum() * 5 / 60
    assert in_kwh == pytest.approx(fleet.meter_j.sum() / 3.6e6, rel=1e-12)


def test_ac_taper_never_exceeds_what_the_battery_takes():
    """A battery that takes 2 kW when full slows a 6 kW socket down near the end."""
    curve = np.stack([np.interp(np.arange(101), [0, 90, 100], [50.0, 20.0, 2.0])] * 4)
    fleet = electric_fleet(1, soc=0.95)
    charging = make(fleet, models=catalogue(curve_kw=curve), home_access=1.0, handshake_s=0.0)
    charging.arrive(0, fleet.home_site[0], 0, -1, fleet.capacity_j[0])
    run(charging, 7_200_000)
    battery_kw, slope = 0.925 * 6 * 6 / 6.3, -18 / (0.1 * 39)  # kW, kW per kWh
    knee = 39 * (1 - 0.1 * (battery_kw - 2) / 18)
    hours = (knee - 0.95 * 39) / battery_kw + math.log(2 / battery_kw) / slope
    assert charging.table["done_s"][0] == pytest.approx(hours * 3600, abs=0.01)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.floats(0.0, 100.0)), min_size=1, max_size=30),
    st.lists(st.floats(1.0, 300.0), min_size=3, max_size=3),
)
@settings(max_examples=80, deadline=None)
def test_caps_are_shared_equally(wishes, caps):
    """Grants never pass wish or cap; a binding cap is used up; who gets less than the wish gets as much as any."""
    site = np.array([s for s, _ in wishes], np.int32)
    want, cap = np.array([w for _, w in wishes]), np.array(caps)
    grant, left = np.zeros(len(want)), np.zeros(3)
    kernels.share(np.arange(len(want)), site, want, cap, grant, left)
    assert (grant <= want).all()
    for s in range(3):
        mine = site == s
        total = grant[mine].sum()
        assert total == pytest.approx(min(want[mine].sum(), cap[s]), rel=1e-9, abs=1e-9)
        assert left[s] == pytest.approx(cap[s] - total, abs=1e-9)
        short = mine & (grant < want)
        if short.any():
            assert grant[short].min() >= grant[mine].max() - 1e-9


def test_a_capped_site_never_draws_more_than_its_cap():
    """Two cars on rising curves, ticks and newcomers inside ticks: no interval's mean is above the cap."""
    fleet = electric_fleet(6, soc=0.05)
    charging = make(fleet, interval_min=1, handshake_s=10.0)
    fast = site_of(charging, SiteKind.FAST)
    charging.sites.socket_count[charging.sites.socket_kind == SOCKET_KINDS.index("chademo")] = 6
    charging.sites.cap_kw[fast] = 100.0
    charging.arrive(np.arange(6), fast, [0, 10_000, 70_000, 130_500, 200_000, 260_000], -1, fleet.capacity_j)
    run(charging, 20 * 60_000)
    charging.depart([1, 2], 20 * 60_000 + 30_000)
    run(charging, 40 * 60_000)
    charging.finish(40 * 60_000)
    power = charging.load.table["power_kw"]
    assert power.max() <= 100.0 + 1e-4
    assert (power > 99.999).sum() > 10
    assert closed(charging)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"curve_kw": np.zeros((4, 101))}, "model 0 has a direct-current socket but no curve_kw"),
        ({"curve_kw": np.zeros((4, 50))}, "shape"),
        ({"ac_kw": np.array([1.0, np.nan, 1.0, 0.0])}, "finite"),
        ({"curve_kw": np.stack([np.linspace(50, 0, 101)] * 4)}, "touches zero"),
    ],
)
def test_impossible_models_are_refused(change, words):
    with pytest.raises(ChargingError, match=words):
        make(electric_fleet(1), models=catalogue(**change))
