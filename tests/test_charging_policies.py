"""Charging policies: each on a question that can be answered by hand, and on one evening of many cars."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maps.toy import toy_city
from tests.charging_cases import KWH, closed, electric_fleet, make, run
from twin.charging import policies
from twin.charging.charging import Charging
from twin.charging.policies import PolicyError, Question
from twin.charging.policy_file import policy_of
from twin.charging.tariff import coming, day_prices, default_bands
from twin.settings import ChargingSettings

HOUR, MINUTE = 3_600_000, 60_000
CITY = toy_city(5)
NIGHT = day_prices([(23.0, 7.0, 10.0), (7.0, 23.0, 30.0)])


def question(*, at_h: float = 18.0, leave_h: float = 31.0, hours: float = 4.0, n: int = 1, **change: Any) -> Question:
    """Cars of 6 kW at home at an hour of the day that need `hours` at full power and leave at `leave_h`."""
    at = round(at_h * HOUR)
    given: dict[str, Any] = {
        "now_ms": np.full(n, at),
        "of_day_ms": np.full(n, at % (24 * HOUR)),
        "site_kind": np.zeros(n, np.uint8),
        "site": np.zeros(n, np.int32),
        "feeder": np.zeros(n, np.int32),
        "car": np.arange(n, dtype=np.int32),
        "soc": np.full(n, 0.5),
        "need_j": np.full(n, round(hours * 5.3 * KWH)),
        "rated_kw": np.full(n, 6.0),
        "full_power_h": np.full(n, hours),
        "leave_ms": np.full(n, round(leave_h * HOUR) if leave_h >= 0 else -1),
        "timer": np.ones(n, bool),
        "gives": np.zeros(n, bool),
        "spare_j": np.full(n, 8 * KWH),
        "house_kw": np.full(n, 0.7),
        "price": coming(NIGHT, at % (24 * HOUR)),
    }
    return Question(**{**given, **change})


def power(policy: Any, **case: Any) -> float:
    return float(policies.ask(policy, question(**case))[0])


def test_uncontrolled_starts_at_once_with_all_it_has():
    answer = policies.uncontrolled(question())
    assert (answer.start_ms[0], answer.fraction[0]) == (18 * HOUR, 1.0)


def test_by_tariff_cars_wait_for_the_cheap_hours_as_long_as_they_can():
    assert power(policies.tariff, at_h=18.0) == 0.0
    assert power(policies.tariff, at_h=23.0) == 6.0
    assert power(policies.tariff, at_h=22.75) == 0.0
    # 8 cheap hours do not hold 9 hours of charging: the first dear quarters are used too
    assert power(policies.tariff, at_h=18.0, hours=9.0) == 6.0
    # who leaves in the evening, or does not say, charges now
    assert power(policies.tariff, at_h=18.0, leave_h=22.0) == 6.0
    assert power(policies.tariff, at_h=18.0, leave_h=-1) == 6.0


def test_spread_gives_even_power_until_departure():
    expected = 6.0 * 4.0 * policies.TAPER / (13.0 - policies.MARGIN_H)
    assert power(policies.spread) == pytest.approx(expected)
    assert power(policies.spread, hours=0.1) == policies.LEAST_KW  # a socket cannot hold less
    assert power(policies.spread, hours=12.8) == 6.0  # no time to spare


def test_the_dearer_the_hour_the_less_power():
    three = day_prices([(0.0, 6.0, 10.0), (6.0, 18.0, 20.0), (18.0, 24.0, 30.0)])
    assert power(policies.price, at_h=18.0, price=coming(three, 18 * HOUR)) == 0.0
    assert power(policies.price, at_h=12.0, price=coming(three, 12 * HOUR)) == pytest.approx(3.0)
    assert power(policies.price, at_h=1.0, price=coming(three, HOUR)) == 6.0
    assert power(policies.price, at_h=18.0, leave_h=22.5, price=coming(three, 18 * HOUR)) == 6.0


def test_a_car_feeds_its_house_or_the_grid_only_while_it_can_and_may():
    gives = np.ones(1, bool)
    assert power(policies.house, gives=gives) == -0.7
    assert power(policies.grid, gives=gives) == -6.0
    assert power(policies.house) == 0.0  # no box at home
    assert power(policies.house, gives=gives, spare_j=np.zeros(1, np.int64)) == 0.0
    assert power(policies.house, gives=gives, leave_h=22.5) == 6.0
    assert power(policies.grid, gives=gives, at_h=23.5) == 6.0


# ---------------------------------------------------------------- one evening of many cars


def evening(policy: str, *, cars: int = 150, **settings: Any) -> Charging:
    """Cars of 40 kWh come home between 17 and 21 o'clock with a third to nine tenths left and leave at 7 and after."""
    fleet = electric_fleet(cars, city=CITY)
    u = np.random.default_rng(2).random((3, cars))
    fleet.battery_j[:] = np.rint(fleet.capacity_j * (0.33 + 0.57 * u[0])).astype(np.int64)
    charging = make(fleet, city=CITY, home_access=1.0, policy_name=policy, **settings)
    come = np.sort(np.rint((17.0 + 4.0 * u[1]) * HOUR).astype(np.int64))
    leave = np.rint((31.0 + 2.0 * u[2]) * HOUR).astype(np.int64)
    tick = 5 * MINUTE
    for t0 in range(0, 34 * HOUR, tick):
        gone = np.flatnonzero((leave >= t0) & (leave < t0 + tick))
        charging.depart(gone, leave[gone])
        here = np.flatnonzero((come >= t0) & (come < t0 + tick))
        charging.arrive(here, fleet.home_site[here], come[here], leave[here], fleet.capacity_j[here])
        charging.flow(t0, t0 + tick)
        charging.sessions.env.run(until=t0 + tick)
        charging.released()
    charging.finish(34 * HOUR)
    assert closed(charging)
    return charging


def load_kw(charging: Charging) -> np.ndarray:
    """Load of all sites by quarter of an hour."""
    table = charging.load.table
    return np.bincount(np.rint(table["time_s"] / 900).astype(int), table["power_kw"], 34 * 4)


@pytest.fixture(scope="module")
def base() -> Charging:
    return evening("uncontrolled")


@pytest.mark.parametrize("policy", ["tariff", "spread", "price", "v2h", "v2g"])
def test_policies_move_the_peak_and_everybody_leaves_full(base, policy):
    """The peak falls when charging is spread, wanders into the night by tariff; the energy stays the same."""
    other = evening(policy, v2x_share=0.5)
    before, after = load_kw(base), load_kw(other)
    assert other.record.sums["energy_j"] == pytest.approx(base.record.sums["energy_j"], rel=0.005)
    assert (other.fleet.battery_j == other.fleet.capacity_j).all()
    assert (base.fleet.battery_j == base.fleet.capacity_j).all()
    evening_h = slice(17 * 4, 22 * 4)
    assert after[evening_h].sum() < 0.6 * before[evening_h].sum()
    if policy == "spread":
        assert after.max() < 0.5 * before.max()
    if policy in ("tariff", "price"):
        assert 23 <= after.argmax() / 4 < 31  # everybody starts with the night: a peak of its own
        assert after[23 * 4 :].sum() > 0.9 * after.sum()
    given_kwh = other.grid_summary()["given_kwh"]
    if policy.startswith("v2"):
        assert after[evening_h].min() < 0
        sums = other.record.sums
        assert given_kwh > 20
        assert sums["loss_j"] > base.record.sums["loss_j"]  # the way out and in again costs
        wear = other.grid_summary()["battery_wear_kwh"]
        assert wear == pytest.approx(given_kwh / other.give_eta * 0.00013)
    else:
        assert given_kwh == 0
    assert (load_kw(other) <= 150 * 6.0 + 1e-6).all()


def test_back_from_the_battery_is_the_round_trip_of_the_facts():
    """1 kWh in at 6 kW and out again gives 0.85 kWh (facts charging: v2h.roundtrip_eta)."""
    charging = evening("uncontrolled", cars=1)
    into = charging.efficiency[1] * 6.0 / 6.3
    assert into * charging.give_eta == pytest.approx(0.85)


def test_no_car_gives_more_than_its_reserve_allows():
    other = evening("v2g", v2x_share=1.0)
    assert other.table["given_kwh"].max() > 3
    low = 0.30 * other.fleet.capacity_j[0] / KWH
    started = other.table["soc_in"] * 39.0
    # what left the battery, at most what lay above the reserve (it may have been charged and given again)
    assert (other.table["given_kwh"] / other.give_eta <= np.maximum(started - low, 0) + 39.0 * 0.7).all()


@pytest.mark.parametrize("sharing", ["equal", "first", "laxity"])
def test_a_feeder_cap_holds_to_the_joule_and_all_leave_full(base, sharing):
    capped = evening("uncontrolled", feeder_cap_kw=14.0, sharing=sharing)
    table = capped.load.table
    by_feeder = np.zeros((34 * 4, len(capped.feeder_cap_w)))
    np.add.at(by_feeder, (np.rint(table["time_s"] / 900).astype(int), table["feeder_id"]), table["power_kw"])
    assert by_feeder.max() <= 14.0 + 0.02 / 900  # joules are whole: a fraction may be carried over
    assert by_feeder.max() > 13.99  # the cap binds
    assert load_kw(capped).max() < 0.8 * load_kw(base).max()
    assert capped.record.sums["energy_j"] == pytest.approx(base.record.sums["energy_j"], rel=0.005)
    assert (capped.fleet.battery_j == capped.fleet.capacity_j).all()


def test_who_comes_first_and_whose_time_is_short():
    """Two cars on a feeder of 6 kW: equal halves; the first comer all; or all for the one that leaves sooner."""
    taken = {}
    for sharing in ("equal", "first", "laxity"):
        fleet = electric_fleet(2, city=CITY)
        fleet.home_place[1] = fleet.home_place[0]
        charging = make(fleet, city=CITY, home_access=1.0, handshake_s=0.0, feeder_cap_kw=6.0, sharing=sharing)
        site = fleet.home_site[0]
        charging.arrive([0, 1], site, [0, 1], [40 * HOUR, 5 * HOUR], fleet.capacity_j)
        run(charging, 2 * HOUR)
        taken[sharing] = (charging.visits.meter_j[charging.car_session] / 3.6e6).round(0).tolist()
    assert taken == {"equal": [6.0, 6.0], "first": [12.0, 0.0], "laxity": [0.0, 12.0]}


# ---------------------------------------------------------------- a policy of one's own

SMOOTH = '''
import numpy as np

def smooth(question):
    """Even power until departure."""
    hours = np.maximum(question.left_h - 0.5, 0.25)
    return np.clip(question.rated_kw * question.full_power_h * 1.1 / hours, 0.0, question.rated_kw)

def wrong(question):
    return BAD
'''


def test_a_policy_from_a_file(tmp_path, base):
    (tmp_path / "mine.py").write_text(SMOOTH)
    mine = evening(f"{tmp_path}/mine.py:smooth")
    assert load_kw(mine).max() < 0.5 * load_kw(base).max()
    assert mine.record.sums["energy_j"] == pytest.approx(base.record.sums["energy_j"], rel=0.005)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("question.rated_kw * 2", r"policy wrong: car 0 gets 12 kW; valid is 0 to 6 kW"),
        ("-question.rated_kw", "gets -6 kW"),
        ("question.rated_kw * np.nan", "gets nan kW"),
        ("np.ones(7)", r"\(7,\) powers for 1 cars"),
        ("'much'", "returned str"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_nonsense_powers_are_named(tmp_path, bad, words):
    (tmp_path / "mine.py").write_text(SMOOTH.replace("BAD", bad))
    fleet = electric_fleet(1)
    charging = make(fleet, home_access=1.0, policy_name=f"{tmp_path}/mine.py:wrong")
    charging.arrive(0, fleet.home_site[0], 0, HOUR, fleet.capacity_j[0])
    with pytest.raises(PolicyError, match=words):
        run(charging, MINUTE)


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        (None, "smooth", "no file .*mine.py"),
        ("x = 1\n", "smooth", "has no function smooth; it has none"),
        ("def even(q): ...\n", "smooth", "it has even"),
        ("import nothing_of_the_kind\n", "smooth", "cannot be run: ModuleNotFoundError"),
        ("def (\n", "smooth", "cannot be run: SyntaxError"),
    ],
)
def test_a_policy_file_that_cannot_be_used(tmp_path, text, name, words):
    if text is not None:
        (tmp_path / "mine.py").write_text(text)
    with pytest.raises(PolicyError, match=words):
        policy_of(ChargingSettings(policy=f"{tmp_path}/mine.py:{name}"))


def test_a_scenario_finds_the_policy_beside_it_and_the_manifest_knows_it(tmp_path, capsys):
    from runs import cli

    (tmp_path / "mine.py").write_text(SMOOTH.replace("BAD", "np.full(len(question.car), 99.0)"))
    text = (
        '[charging]\nhome_access = 1.0\npolicy = "mine.py:{}"\n'
        "[fleet]\ncars = 30\nbev = 1.0\nepower = 0.0\n[demand]\nother_traffic = 0.0\n"
    )
    scenario = tmp_path / "own.toml"
    city = tmp_path / "toy.map.npz"
    toy_city(6).save(city)
    head = f'map = "{city}"\nuntil = "20h"\n'
    scenario.write_text(head + text.format("smooth"))
    out = tmp_path / "out"
    assert cli.main(["run", str(scenario), "--out", str(out), "--quiet"]) == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["inputs"]["charging.policy"] == hashlib.sha256((tmp_path / "mine.py").read_bytes()).hexdigest()
    scenario.write_text(head + text.format("wrong"))
    capsys.readouterr()
    other = tmp_path / "other"
    assert cli.main(["run", str(scenario), "--out", str(other), "--quiet"]) == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1
    assert "policy wrong: car" in error[0]
    assert not other.exists()


# ---------------------------------------------------------------- tariffs


def test_the_default_tariff_covers_the_day():
    price = day_prices(default_bands())
    assert (price[[0, 27, 28, 91, 92]] == [13.21, 13.21, 26.84, 26.84, 13.21]).all()


@pytest.mark.parametrize(
    ("bands", "words"),
    [
        ([(0, 12, 1.0)], "no price at 12:00"),
        ([(0, 13, 1.0), (12, 24, 2.0)], "two prices at 12:00"),
        ([(0, 24.5, 1.0)], "hours are 0 to 24"),
        ([(0, 12.1, 1.0), (12.1, 24, 1.0)], "quarters of an hour"),
    ],
)
def test_tariffs_with_gaps_are_refused(bands, words):
    with pytest.raises(ValueError, match=words):
        ChargingSettings(tariff=bands)


def test_unknown_policies_are_refused():
    with pytest.raises(ValueError, match="must be uncontrolled, timer, tariff"):
        ChargingSettings(policy="smart")


def test_settings_and_functions_name_the_same_policies():
    from twin.settings import POLICY_NAMES

    assert tuple(policies.POLICIES) == POLICY_NAMES
    assert Path(policies.__file__).name == "policies.py"
