"""What engaged cars do to traffic and energy: in closed form, and nothing at all when switched off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from maps.toy import corridor, toy_city
from tests.test_autonomy_propilot import expressway, room, travel
from twin.autonomy.effects import Effects, headway_factor
from twin.autonomy.rules import RulesError, load_rules
from twin.fleet.fleet import Fleet
from twin.model import Twin
from twin.settings import AutonomySettings, DemandSettings, FleetSettings, TrafficSettings
from twin.traffic.engine import Streets, TrafficError
from twin.traffic.traversals import Traversals

EFFECTS = load_rules()["effects"]


def effects(cars: int = 4000, *, level: int = 1, **knobs: bool) -> Effects:
    fleet = Fleet(cars)
    fleet.propilot[:] = level
    knobs = {"affects_speed": True, **knobs}
    return Effects(fleet, AutonomySettings(**knobs), load_rules(), seed=3)


def test_headway_is_gap_plus_car_over_the_drivers() -> None:
    car_s = 7.5 / (100 / 3.6)
    made = effects()
    factors = {
        (g + car_s) / (1.64 + car_s) * 1.05: share
        for g, share in zip([1.1, 1.6, 2.2], [0.504, 0.185, 0.311], strict=True)
    }
    for factor, share in factors.items():
        found = np.isclose(made.gap, factor).mean()
        assert found == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 4000))
    # by the sources, hardly more or less road is needed on the whole
    assert made.gap.mean() == pytest.approx(sum(f * s for f, s in factors.items()), abs=0.02)
    assert headway_factor(np.array([1.64]), EFFECTS | {"string_instability": 1.0})[0] == pytest.approx(1.0)


def test_only_cars_that_went_on_or_off_are_told_and_off_means_as_a_driver() -> None:
    made = effects(6, level=2)
    engaged = np.array([1, 0, 1, 0, 0, 0], bool)
    first = made.changed(engaged)
    assert first.cars.tolist() == [0, 2] and (first.gap == made.gap[[0, 2]]).all()
    assert first.pace.tolist() == [0.93, 0.93]  # with navigation it holds the limit, drivers 7 % less
    engaged[[0, 5]] = [False, True]
    second = made.changed(engaged)
    assert second.cars.tolist() == [0, 5]
    assert (second.gap[0], second.pace[0]) == (1.0, 1.0) and second.gap[1] == made.gap[5]
    assert not len(made.changed(engaged).cars)
    assert made.steady.tolist() == [0, 0, 1, 0, 0, 1]
    assert effects(1, level=1).changed(np.array([True])).pace.tolist() == [1.0]


@pytest.mark.parametrize("gap", [0.5, 1.0, 1.5])
def test_a_queue_of_followers_leaves_at_their_headway(gap: float) -> None:
    """Saturation headway of one lane at speed v is (tau + s / v), times the followers' factor."""
    settings = TrafficSettings()
    cars, speed = 300, 100 / 3.6
    network = corridor(3, length_m=4000, speed_kmh=100, road_class="motorway")
    streets = Streets(network, settings, cars)
    rows = np.arange(cars)
    streets.depart(rows, np.zeros(cars, np.int64), np.arange(cars + 1) * 3, np.tile(np.arange(3, dtype=np.int32), cars))
    streets.follow(rows, gap=np.full(cars, gap), pace=1.0)
    passed = Traversals(4 * cars)
    streets.advance(3_600_000, passed)
    last = np.sort(passed.exit_ms[: passed.n][passed.link[: passed.n] == 2])
    assert len(last) == cars
    headway_s = settings.tau_s + settings.spacing_m / speed
    assert np.diff(last).mean() / 1000 == pytest.approx(gap * headway_s, rel=0.01)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("time_gap_s", [1.1, 2.2])
def test_a_bottleneck_discharges_by_the_gaps_of_its_mix(share: float, time_gap_s: float) -> None:
    """q = v0 / ((1 - p) + p f): p of the cars engaged at f times a driver's headway, whatever their order."""
    settings = TrafficSettings()
    cars, speed = 1000, 100 / 3.6
    streets = Streets(corridor(3, length_m=10_000, speed_kmh=100, road_class="motorway"), settings, cars)
    rows = np.arange(cars)
    streets.depart(rows, np.zeros(cars, np.int64), np.arange(cars + 1) * 3, np.tile(np.arange(3, dtype=np.int32), cars))
    factor = float(headway_factor(np.array([time_gap_s]), EFFECTS)[0])
    engaged = np.random.default_rng(1).permutation(cars) < share * cars
    streets.follow(rows, gap=np.where(engaged, factor, 1.0), pace=1.0)
    passed = Traversals(4 * cars)
    streets.advance(7_200_000, passed)
    last = np.sort(passed.exit_ms[: passed.n][passed.link[: passed.n] == 2])
    assert len(last) == cars
    found_per_h = 3.6e6 * (cars - 1) / (last[-1] - last[0])
    by_hand = 3600 / (settings.tau_s + settings.spacing_m / speed)
    assert found_per_h == pytest.approx(by_hand / (1 - share + share * factor), rel=0.01)


def test_a_faster_pace_shortens_the_next_links_only() -> None:
    streets = Streets(corridor(2, length_m=1000, speed_kmh=100, road_class="motorway"), TrafficSettings(), 1)
    streets.depart([0], [0], np.array([0, 2]), np.array([0, 1], np.int32))
    rows = Traversals(8)
    streets.advance(10_000, rows)
    streets.follow([0], gap=1.0, pace=0.93)
    streets.advance(200_000, rows)
    assert (rows.exit_ms - rows.enter_ms)[:2].tolist() == [36_000, 33_480]
    with pytest.raises(TrafficError, match="from 0 to 32 times"):
        streets.follow([0], gap=1.0, pace=40.0)


def test_steady_cars_spend_less_at_the_wheel_and_the_books_close() -> None:
    city = toy_city(5, homes=40)
    saved = []
    for saving in (0.0, 0.1):
        twin = Twin(
            city,
            fleet=FleetSettings(cars=40, bev=1.0, epower=0.0),
            demand=DemandSettings(other_traffic=0.0),
            until_s=43_200,
        )
        twin.world.drive.steadied(np.ones(40, np.uint8), saving=saving)
        while not twin.world.done:
            twin.step()
        twin.world.finish()
        assert not any(twin.world.ledger().values())
        saved.append(int(twin.world.drive.total[0]))
    # auxiliaries and cabin are not saved
    assert 0.9 < saved[1] / saved[0] < 0.97


def fleet_of(*, cars: int = 150, traffic: float = 0.2, hours: int = 12, **knobs: object) -> Twin:
    city = toy_city(7, homes=200, rings_km=(2.0, 5.0, 10.0, 20.0, 40.0))
    twin = Twin(
        city,
        fleet=FleetSettings(cars=cars, propilot=1.0),
        demand=DemandSettings(other_traffic=traffic, outside=0.9),
        autonomy=AutonomySettings(use=3.0, **knobs),
        until_s=hours * 3600,
    )
    while not twin.world.done:
        twin.step()
    twin.world.finish()
    assert not any(twin.world.ledger().values())
    return twin


def test_each_effect_can_be_switched_off_and_all_off_leaves_the_world_alone() -> None:
    off = {"affects_headway": False, "affects_speed": False, "affects_energy": False}
    nobody, none = fleet_of(enabled=False), fleet_of(**off)
    assert none.world.fleet.engaged_mm.sum() > 0
    for column in ("driven_mm", "drive_ms", "traction_j", "battery_j", "fuel_ul"):
        assert np.array_equal(getattr(none.world.fleet, column), getattr(nobody.world.fleet, column)), column
    energy = fleet_of(**(off | {"affects_energy": True}))
    assert np.array_equal(energy.world.fleet.drive_ms, none.world.fleet.drive_ms)
    assert energy.world.fleet.traction_j.sum() < none.world.fleet.traction_j.sum()
    speed = fleet_of(**(off | {"affects_speed": True}))
    assert speed.world.fleet.drive_ms.sum() < none.world.fleet.drive_ms.sum()


def test_in_a_world_engaged_cars_that_keep_long_gaps_hold_up_those_behind(tmp_path: Path) -> None:
    rules = tmp_path / "gaps.toml"
    rules.write_text("[effects]\ntime_gap_s = [30, 30, 30]\n", "utf-8")
    only = {"affects_headway": True, "affects_speed": False, "affects_energy": False, "rules": str(rules)}
    many = {"cars": 1500, "traffic": 0.5, "hours": 9}
    slow, free = fleet_of(**many, **only), fleet_of(**many, **(only | {"affects_headway": False}))
    assert slow.world.fleet.engaged_mm.sum() > 0
    assert slow.world.fleet.drive_ms.sum() > free.world.fleet.drive_ms.sum()


def test_contradicting_effects_are_refused() -> None:
    table = load_rules()
    table["effects"]["time_gap_share"] = [0.5, 0.5, 0.5]
    with pytest.raises(RulesError, match="time_gap_share sum to 1"):
        Effects(Fleet(1), AutonomySettings(), table, seed=1)
    table = load_rules()
    table["effects"]["motorway_energy_saving"] = 1.5
    with pytest.raises(RulesError, match="must lie between -1 and 1"):
        Effects(Fleet(1), AutonomySettings(), table, seed=1)


def test_engaged_state_is_what_effects_see() -> None:
    autonomy = room(expressway(30), use=10)
    travel(autonomy)
    assert not autonomy.changed().cars.size  # trips are over, nobody is engaged
