"""Driver assistance: domain as data, engagement process in closed form, books that close."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from maps.network import ONEWAY, RAMP, ROAD_CLASSES, TOLL_BOOTH, RoadNetwork
from maps.toy import corridor
from twin import facts
from twin.autonomy import domain, use
from twin.autonomy.propilot import Autonomy, AutonomyError
from twin.autonomy.record import CAUSES
from twin.autonomy.rules import HANDS_OFF, LEVELS
from twin.fleet.fleet import Fleet
from twin.settings import AutonomySettings, ClimateSettings
from twin.traffic.traversals import Traversals

HOUR = 3_600_000
PRIMARY = ROAD_CLASSES.index("primary")


def expressway(links: int, *, length_m: float = 1000.0) -> RoadNetwork:
    """A carriageway of two lanes, where every level may be engaged."""
    road = corridor(links, length_m=length_m, road_class="motorway", lanes=2)
    return changed(road, link_flags=road.link_flags | ONEWAY)


def changed(network: RoadNetwork, **columns: object) -> RoadNetwork:
    names = {f.name for f in fields(RoadNetwork)}
    assert columns.keys() <= names
    return replace(network, **columns)


def room(
    network: RoadNetwork,
    *,
    cars: int = 100,
    level: int = 1,
    driver: int = 2,
    country: str = "JP",
    use: float = 1.0,
    enabled: bool = True,
    rain: float = 0.0,
    seed: int = 5,
    hours: int = 48,
    celsius: float = 15.0,
    year: int = 2021,
    **knobs: object,
) -> Autonomy:
    fleet = Fleet(cars)
    fleet.propilot[:] = level
    fleet.driver[:] = driver
    fleet.year[:] = year
    knobs = {"weeks": 1000.0, "destination_set": 1.0, **knobs}
    return Autonomy(
        fleet,
        network,
        AutonomySettings(enabled=enabled, use=use, **knobs),
        ClimateSettings(precipitation_mm_h=rain, ambient_c=celsius),
        country=country,
        model_names=["LEAF"],
        seed=seed,
        horizon_ms=hours * HOUR,
    )


def travel(
    autonomy: Autonomy, *, speed_kmh: float = 100.0, start_ms: int = 0, serial: int = 0, tick_ms: int = 60_000
) -> Traversals:
    """Every car drives the whole network, link 0 to the last, at one speed; returns all rows."""
    network, fleet = autonomy.network, autonomy.fleet
    links, cars = network.n_links, fleet.size
    mm = np.rint(network.link_length * 1000).astype(np.int64)
    end = start_ms + np.rint(np.cumsum(network.link_length) / (speed_kmh / 3.6) * 1000).astype(np.int64)
    begin = np.concatenate([[start_ms], end[:-1]])
    rows = Traversals(links * cars)
    rows.n = links * cars
    rows.car[:] = np.tile(np.arange(cars), links)
    rows.link[:] = np.repeat(np.arange(links), cars)
    rows.enter_ms[:] = np.repeat(begin, cars)
    rows.exit_ms[:] = np.repeat(end, cars)
    rows.driven_mm[:] = np.repeat(mm, cars)
    everyone = np.arange(cars, dtype=np.int32)
    autonomy.begin_trips(everyone, np.full(cars, serial, np.int64))
    for first in range(start_ms // tick_ms, int(end[-1]) // tick_ms + 1):
        here = np.flatnonzero((rows.exit_ms >= first * tick_ms) & (rows.exit_ms < (first + 1) * tick_ms))
        part = Traversals(max(1, len(here)))
        part.n = len(here)
        for name, _ in Traversals.COLUMNS:
            getattr(part, name)[: part.n] = getattr(rows, name)[here]
        np.add.at(fleet.driven_mm, part.car[: part.n], part.driven_mm[: part.n])
        autonomy.drive(part)
        rows.engaged_mm[here] = part.engaged_mm[: part.n]
    autonomy.end_trips(everyone)
    return rows


def closed(autonomy: Autonomy) -> bool:
    return all(value == 0 for value in autonomy.ledger().values())


# ------------------------------------------------------------------ stretches


def test_stretch_is_the_longest_way_through_and_breaks_at_gaps_and_tolls() -> None:
    road = corridor(10, length_m=500, road_class="motorway")
    inside = np.ones(10, bool)
    inside[6] = False
    assert domain.stretch_m(road, inside, enough_m=1e6).tolist() == [3000.0] * 6 + [0.0] + [1500.0] * 3
    control = road.node_control.copy()
    control[2] = TOLL_BOOTH
    tolled = changed(road, node_control=control)
    assert domain.stretch_m(tolled, inside, enough_m=1e6).tolist() == [1000.0] * 2 + [2000.0] * 4 + [0.0] + [1500.0] * 3


def test_stretch_never_turns_back_and_ends_on_rings() -> None:
    both = corridor(3, length_m=500, road_class="motorway", both_ways=True)
    assert domain.stretch_m(both, np.ones(6, bool), enough_m=1e6).tolist() == [1500.0] * 6
    from maps.toy import ring

    circle = ring(12, length_m=100, road_class="motorway")
    assert (domain.stretch_m(circle, np.ones(12, bool), enough_m=3000) >= 3000).all()


def test_stretch_stops_at_forbidden_turns() -> None:
    road = corridor(4, length_m=500, road_class="motorway")
    banned = changed(road, ban_from=np.array([1]), ban_to=np.array([2]))
    assert domain.stretch_m(banned, np.ones(4, bool), enough_m=1e6).tolist() == [1000.0] * 4


# ------------------------------------------------------------------ engagement


def test_short_stretches_are_possible_but_not_used() -> None:
    autonomy = room(corridor(5, length_m=500, road_class="motorway"), use=10)
    travel(autonomy)
    autonomy.finish()
    assert autonomy.summary()["engaged_km"] == 0
    assert autonomy.summary()["possible_km"] == pytest.approx(2.5 * 100)
    assert closed(autonomy)


def test_v19_share_of_freeway_km_on_level_2_by_equipped_cars() -> None:
    """Validation target V19 (IIHS 2019): 0.20 of freeway km, +- 0.06, over the facts' mix of drivers."""
    target = next(t for t in facts.load("validation")["target"] if t["id"] == "V19")
    autonomy = room(corridor(12, length_m=2000, road_class="motorway"), cars=4000)
    mix = facts.load("autonomy")["model"]["user_types"]
    autonomy.fleet.driver[:] = np.searchsorted(
        np.cumsum(list(mix.values()))[:-1], np.linspace(0, 1, 4000), side="right"
    )
    travel(autonomy)
    autonomy.finish()
    summary = autonomy.summary()
    assert summary["share"] == pytest.approx(target["value"], abs=target["tolerance_abs"])
    assert summary["by_road_class"]["motorway"]["share"] == summary["share"]
    assert closed(autonomy)


@pytest.mark.parametrize(
    ("level", "name"), [(1, "propilot_1_0"), (2, "propilot_1_0_navi"), (3, "propilot_2_0"), (4, "propilot_destination")]
)
def test_long_trips_of_engaging_drivers_reach_the_share_of_the_facts(level: int, name: str) -> None:
    """share = P(trip) * share_of_eligible_km_when_engaged in the limit of a long stretch."""
    model = facts.load("autonomy")["model"]
    autonomy = room(expressway(300), cars=3000, level=level, hours=4)
    travel(autonomy)
    autonomy.finish()
    want = model["engage_prob_per_eligible_trip"]["regular"] * model["share_of_eligible_km_when_engaged"][name]
    # 300 km: the first delay costs 1.1 km; 3000 drivers give a standard error of 0.009
    assert autonomy.summary()["share"] == pytest.approx(want, abs=0.03)


@pytest.mark.parametrize(("level", "row"), [(1, 0), (3, 1)])
def test_v20_engaged_km_between_take_overs(level: int, row: int) -> None:
    target = next(t for t in facts.load("validation")["target"] if t["id"] == "V20")
    autonomy = room(expressway(100), cars=1500, level=level, hours=4)
    travel(autonomy)
    autonomy.finish()
    summary = autonomy.summary()
    assert summary["takeovers"] > 1000
    # 4 standard errors of a Poisson count, far inside the target's 20 %
    assert summary["engaged_km"] / summary["takeovers"] == pytest.approx(
        target["value"][row], rel=4 / np.sqrt(summary["takeovers"])
    )


def test_causes_follow_the_measured_shares() -> None:
    autonomy = room(corridor(100, length_m=1000, road_class="motorway"), cars=2000, hours=4)
    travel(autonomy)
    autonomy.finish()
    counts = {
        name: float(autonomy.table[f"disengagements_{name}"].astype(float).sum())
        for name in ("driver", "cut_in", "sensor")
    }
    total = sum(counts.values())
    assert total > 10_000
    for name, share in use.cause_shares(facts.load("autonomy")["events"]["aaa"]).items():
        assert counts[name] / total == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / total))


def test_leaving_the_domain_ends_it_and_is_the_only_cause_without_take_overs() -> None:
    road = corridor(12, length_m=1000, road_class="motorway")
    classes = road.link_class.copy()
    classes[6:] = PRIMARY
    autonomy = room(changed(road, link_class=classes), use=10)
    autonomy.modes["mean_mm"] = 10**12
    rows = travel(autonomy)
    autonomy.finish()
    assert rows.engaged_mm[rows.link >= 6].sum() == 0
    assert rows.engaged_mm.sum() > 0
    table = autonomy.table.arrays()
    assert table["disengagements_domain"].sum() == table["engagements"].sum() > 50
    assert table["disengagements_arrival"].sum() == table["disengagements_driver"].sum() == 0
    assert closed(autonomy)


def test_toll_booth_needs_the_driver() -> None:
    road = corridor(8, length_m=1000, road_class="motorway")
    control = road.node_control.copy()
    control[4] = TOLL_BOOTH
    autonomy = room(changed(road, node_control=control), use=10)
    autonomy.modes["mean_mm"] = 10**12
    travel(autonomy)
    autonomy.finish()
    table = autonomy.table.arrays()
    assert table["disengagements_toll"].sum() > 30
    assert table["disengagements_domain"].sum() == 0
    assert table["disengagements_arrival"].sum() > 30
    assert closed(autonomy)


def ends(autonomy: Autonomy) -> dict[str, int]:
    return {name: int(autonomy.table[f"disengagements_{name}"].astype(int).sum()) for name in CAUSES}


def test_a_ramp_ends_it_and_is_named() -> None:
    road = expressway(12)
    flags, classes = road.link_flags.copy(), road.link_class.copy()
    flags[8:] |= RAMP
    classes[8:] = ROAD_CLASSES.index("motorway_link")
    road = changed(road, link_flags=flags, link_class=classes)
    autonomy = room(road, use=10)
    autonomy.modes["mean_mm"] = 10**12
    rows = travel(autonomy, speed_kmh=80)
    autonomy.finish()
    assert rows.engaged_mm[rows.link >= 8].sum() == 0
    assert ends(autonomy)["ramp"] > 50 and ends(autonomy)["domain"] == 0
    # destination management goes on to the end of the exit
    through = room(road, use=10, level=4)
    through.modes["mean_mm"] = 10**12
    rows = travel(through, speed_kmh=80)
    through.finish()
    assert rows.engaged_mm[rows.link >= 8].sum() > 0
    assert ends(through)["ramp"] == 0 < ends(through)["arrival"]


def test_rain_that_sets_in_ends_it_and_is_named() -> None:
    hours = [0.0] * 24
    hours[1] = 20.0
    autonomy = room(expressway(150), use=10, rain=hours)  # type: ignore[arg-type]
    autonomy.modes["mean_mm"] = 10**12
    rows = travel(autonomy)
    autonomy.finish()
    assert rows.engaged_mm[rows.exit_ms < HOUR].sum() > 0
    assert rows.engaged_mm[rows.exit_ms >= HOUR].sum() == 0
    assert ends(autonomy)["weather"] == autonomy.summary()["engagements"] > 50
    assert closed(autonomy)


def test_the_weather_of_the_hour_is_looked_up_again_when_a_run_goes_on() -> None:
    hours = [0.0] * 24
    hours[1] = 20.0
    autonomy = room(expressway(30), use=10, rain=hours)  # type: ignore[arg-type]
    autonomy._hour = 1  # all that a saved run brings back of it
    travel(autonomy, start_ms=HOUR)
    assert autonomy.fleet.driven_mm.sum() > 0 == autonomy.fleet.engaged_mm.sum()


@pytest.mark.parametrize(("level", "limit_s"), [(1, 3.0), (2, 30.0)])
def test_stops_that_are_too_long_come_at_their_rate(level: int, limit_s: float) -> None:
    """Crawling cars stop once in 20 s for 6 s on average: exp(-limit / 6) of the stops end it."""
    stops = facts.load("autonomy")["model"]["stops"]
    autonomy = room(expressway(8), cars=4000, use=10, level=level, hours=12)
    autonomy.modes["mean_mm"] = 10**12
    travel(autonomy, speed_kmh=stops["crawl_kmh"] * 0.6)
    autonomy.finish()
    expected = autonomy.fleet.engaged_ms.sum() / 1000 / stops["cycle_s"] * np.exp(-limit_s / stops["mean_s"])
    assert expected > 100
    assert ends(autonomy)["stop"] == pytest.approx(expected, abs=4 * np.sqrt(expected))
    fast = room(expressway(8), use=10, level=level)
    travel(fast, speed_kmh=stops["crawl_kmh"] * 1.1)
    fast.finish()
    assert ends(fast)["stop"] == 0
    assert closed(autonomy)


def test_lane_changes_come_at_their_rate_and_bring_the_hands_back() -> None:
    per_km = facts.load("autonomy")["model"]["lane_changes"]["per_km"]
    for level, lanes, hands in ((1, 2, 0), (HANDS_OFF, 2, 2), (HANDS_OFF, 1, 0)):
        road = expressway(100)
        road = changed(road, link_lanes=np.full(100, lanes, np.uint8))
        autonomy = room(road, cars=1000, level=level, hours=4)
        travel(autonomy)
        autonomy.finish()
        found = autonomy.summary()
        expected = found["engaged_km"] * per_km * (lanes > 1)
        assert found["lane_changes"] == pytest.approx(expected, abs=4 * np.sqrt(expected) + 1e-9)
        assert found["hand_changes"] == hands * found["lane_changes"]
        assert found["transfers"] == found["engagements"] + sum(ends(autonomy).values()) + found["hand_changes"]


def test_trips_are_counted_once_whatever_their_legs() -> None:
    autonomy = room(expressway(20), cars=200, driver=2, use=10)
    autonomy.fleet.propilot[:50] = 0
    travel(autonomy, serial=3)
    travel(autonomy, serial=3, start_ms=HOUR)
    autonomy.finish()
    found = autonomy.summary()
    assert found["equipped_trips"] == found["trips_in_domain"] == 150
    used = np.count_nonzero(autonomy.fleet.engaged_mm)
    assert found["used_trips"] == used
    assert found["transfers_per_used_trip"] == pytest.approx(found["transfers"] / used)


def test_minutes_between_are_engaged_minutes_over_counts() -> None:
    autonomy = room(expressway(40), cars=300)
    travel(autonomy)
    autonomy.finish()
    found = autonomy.summary()
    minutes = autonomy.fleet.engaged_ms.sum() / 60_000
    assert found["minutes_between"]["driver"] == pytest.approx(minutes / ends(autonomy)["driver"])
    assert found["minutes_between"]["stop"] is None
    assert found["unused_km"] == pytest.approx(found["possible_km"] - found["engaged_km"])
    assert sum(v["engaged_km"] for v in found["by_level"].values()) == pytest.approx(found["engaged_km"])
    assert sum(v["km"] for v in found["by_hour"].values()) == pytest.approx(40 * 300)


def test_older_japanese_cars_hold_a_lower_speed() -> None:
    for year, kmh, holds in (
        (2016, 99, True),
        (2016, 101, False),
        (2019, 114, True),
        (2019, 116, False),
        (2022, 124, True),
    ):
        autonomy = room(expressway(10), use=10, year=year)
        travel(autonomy, speed_kmh=kmh)
        assert (autonomy.fleet.engaged_mm.sum() > 0) == holds, (year, kmh)


def test_without_destination_or_with_an_old_map_hands_off_becomes_hands_on() -> None:
    for knobs in ({"destination_set": 0.0}, {"map_age_days": 400.0}):
        bare = room(expressway(60), level=HANDS_OFF, cars=400, **knobs)
        hands_on = room(expressway(60), level=1, cars=400)
        travel(bare)
        travel(hands_on)
        assert np.array_equal(bare.fleet.engaged_mm, hands_on.fleet.engaged_mm), knobs
    fresh = room(expressway(60), level=HANDS_OFF, cars=400, map_age_days=400.0)
    fresh.refresh_maps(np.arange(400), at_ms=0)
    travel(fresh)
    assert fresh.fleet.engaged_mm.sum() > 1.1 * hands_on.fleet.engaged_mm.sum()


def test_engaged_time_matches_engaged_distance_at_one_speed() -> None:
    autonomy = room(corridor(20, length_m=1000, road_class="motorway"))
    travel(autonomy, speed_kmh=90)
    fleet = autonomy.fleet
    assert fleet.engaged_mm.sum() > 0
    hours = fleet.engaged_ms / HOUR
    # a millisecond of rounding per piece and link
    assert np.abs(fleet.engaged_mm / 1e6 - hours * 90).max() < 20 * 2 * 90 / HOUR + 1e-3


def test_too_fast_for_the_system() -> None:
    autonomy = room(corridor(10, length_m=1000, road_class="motorway"), use=10)
    travel(autonomy, speed_kmh=126)
    assert autonomy.fleet.engaged_mm.sum() == 0
    autonomy = room(corridor(10, length_m=1000, road_class="motorway"), use=10)
    travel(autonomy, speed_kmh=124)
    assert autonomy.fleet.engaged_mm.sum() > 0


def test_a_car_that_runs_empty_inside_a_link_counts_only_what_it_drove() -> None:
    autonomy = room(corridor(6, length_m=2000, road_class="motorway"), cars=400, use=10)
    autonomy.modes["mean_mm"] = 10**12
    autonomy.modes["delay_ms"] = 1e-9
    autonomy.modes["here"] = 1.0
    everyone = np.arange(400, dtype=np.int32)
    autonomy.begin_trips(everyone, np.zeros(400, np.int64))
    rows = Traversals(400)
    rows.n = 400
    rows.car[:] = everyone
    rows.exit_ms[:] = 72_000
    rows.driven_mm[:] = 500_000
    autonomy.fleet.driven_mm += 500_000
    autonomy.drive(rows)
    assert (rows.engaged_mm[:400] == 500_000).all()
    # a quarter of the link was driven in a quarter of its 72 s
    assert (autonomy.fleet.engaged_ms == 18_000).all()
    assert closed(autonomy)


@pytest.mark.parametrize(
    "case",
    [
        dict(level=0),
        dict(driver=0),
        dict(use=0.0),
        dict(enabled=False),
        dict(rain=40.0),
        dict(rain=5.0, celsius=-6.0),
    ],
)
def test_nobody_engages_without_level_driver_use_or_weather(case: dict[str, object]) -> None:
    autonomy = room(corridor(10, length_m=1000, road_class="motorway"), **case)  # type: ignore[arg-type]
    travel(autonomy)
    autonomy.finish()
    assert autonomy.summary()["share"] == 0
    assert autonomy.summary()["by_road_class"]["motorway"]["km"] == pytest.approx(1000)
    assert closed(autonomy)


def test_nobody_engages_without_motorways() -> None:
    autonomy = room(corridor(10, length_m=1000, road_class="trunk"))
    travel(autonomy)
    assert autonomy.fleet.engaged_mm.sum() == autonomy.fleet.domain_mm.sum() == 0


def test_rows_are_split_by_hour_road_and_level_and_keep_every_millimetre() -> None:
    autonomy = room(corridor(60, length_m=2000, road_class="motorway"), cars=30)
    autonomy.fleet.propilot[:] = np.arange(30) % 4
    travel(autonomy, start_ms=HOUR // 2)
    autonomy.finish()
    table = autonomy.table.arrays()
    assert sorted(set(table["hour"].tolist())) == [0, 1]
    assert set(table["propilot_level"].tolist()) == set(LEVELS[:4])
    assert float(table["km"].sum()) == pytest.approx(30 * 120)
    assert closed(autonomy)


def test_the_next_leg_of_a_trip_keeps_the_drivers_choice_but_not_the_moments() -> None:
    autonomy = room(corridor(20, length_m=1000, road_class="motorway"), cars=300, driver=1)
    first = travel(autonomy, serial=7).engaged_mm.reshape(20, 300).sum(axis=0)
    leg = travel(autonomy, serial=7, start_ms=HOUR).engaged_mm.reshape(20, 300).sum(axis=0)
    again = travel(autonomy, serial=8, start_ms=2 * HOUR).engaged_mm.reshape(20, 300).sum(axis=0)
    both = (first > 0) & (leg > 0)
    assert np.count_nonzero(both) > 20
    assert np.count_nonzero(first[both] != leg[both]) > 20
    # one in four occasional drivers on each trip, and independently on the next
    assert np.count_nonzero((first > 0) & (again > 0)) < np.count_nonzero(both) / 2
    assert closed(autonomy)


def test_the_ledger_notices_a_lost_metre_and_a_breach() -> None:
    autonomy = room(corridor(10, length_m=1000, road_class="motorway"))
    travel(autonomy)
    autonomy.fleet.engaged_mm[3] += 1000
    assert autonomy.ledger()["table_engaged_mm"] == -1000
    autonomy = room(corridor(10, length_m=1000, road_class="motorway"))
    autonomy.link_domain = np.zeros_like(autonomy.link_domain)
    travel(autonomy)
    assert autonomy.ledger()["breach_mm"] > 0


def test_bad_input_is_named() -> None:
    road = corridor(3, road_class="motorway")
    fleet = Fleet(1)
    fleet.propilot[:] = 7
    with pytest.raises(AutonomyError, match=r"holds 7; valid: 0 to 4"):
        Autonomy(
            fleet, road, AutonomySettings(), ClimateSettings(), country="JP", model_names=["a"], seed=1, horizon_ms=HOUR
        )
    fleet.propilot[:] = 1
    fleet.model[:] = 2
    with pytest.raises(AutonomyError, match="model_names has 1"):
        Autonomy(
            fleet, road, AutonomySettings(), ClimateSettings(), country="JP", model_names=["a"], seed=1, horizon_ms=HOUR
        )
    with pytest.raises(AutonomyError, match="beyond the horizon"):
        travel(room(road, hours=1), start_ms=3 * HOUR)


def test_share_of_stretches_is_refused_when_the_facts_contradict_each_other() -> None:
    model = facts.load("autonomy")["model"]
    model["share_of_eligible_km_when_engaged"]["propilot_1_0"] = 0.95
    with pytest.raises(use.UseError, match="cannot reach"):
        use.here_share(model, "propilot_1_0")
