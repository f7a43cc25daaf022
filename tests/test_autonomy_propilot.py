"""Driver assistance: domain as data, engagement process in closed form, books that close."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from maps.network import MOTORROAD, RAMP, ROAD_CLASSES, TOLL_BOOTH, TUNNEL, RoadNetwork
from maps.toy import corridor
from twin import facts
from twin.autonomy import domain
from twin.autonomy.propilot import Autonomy, AutonomyError, cause_shares, here_share
from twin.fleet.fleet import Fleet
from twin.settings import AutonomySettings, ClimateSettings
from twin.traffic.traversals import Traversals

HOUR = 3_600_000
MOTORWAY, TRUNK, PRIMARY = (ROAD_CLASSES.index(name) for name in ("motorway", "trunk", "primary"))


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
) -> Autonomy:
    fleet = Fleet(cars)
    fleet.propilot[:] = level
    fleet.driver[:] = driver
    return Autonomy(
        fleet,
        network,
        AutonomySettings(enabled=enabled, use=use),
        ClimateSettings(precipitation_mm_h=rain),
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


# ------------------------------------------------------------------ domain


def test_domain_follows_the_facts_link_by_link() -> None:
    road = corridor(8, length_m=1000, road_class="motorway")
    classes = road.link_class.copy()
    flags = road.link_flags.copy()
    radius = np.full(8, np.inf, np.float32)
    classes[1] = classes[2] = TRUNK
    flags[2] |= MOTORROAD
    classes[3] = PRIMARY
    flags[3] |= MOTORROAD
    flags[4] |= RAMP
    radius[5], radius[6] = 260, 240
    flags[7] |= TUNNEL
    road = changed(road, link_class=classes, link_flags=flags, link_radius=radius)

    japan = domain.modes(road, country="JP")
    assert japan[0].tolist() == [0] * 8
    assert japan[1].tolist() == [1, 0, 1, 0, 0, 1, 0, 1]
    assert japan[2].tolist() == [2, 0, 2, 0, 0, 2, 0, 2]
    # 2.0 needs a motorway and 300 m; where only 1.0 may drive, the car falls back to it
    assert japan[3].tolist() == [3, 0, 1, 0, 0, 1, 0, 3]
    assert domain.modes(road, country="DE")[3].tolist() == [1, 0, 1, 0, 0, 1, 0, 1]


@pytest.mark.parametrize(("rain", "modes"), [(0, (1, 3)), (8, (1, 3)), (8.1, (1, 1)), (15, (1, 1)), (15.1, (0, 0))])
def test_rain_closes_the_domain_level_by_level(rain: float, modes: tuple[int, int]) -> None:
    mode = domain.modes(corridor(2, road_class="motorway"), country="JP", precipitation_mm_h=rain)
    assert (mode[1, 0], mode[3, 0]) == modes


def test_unknown_road_and_empty_speed_window_are_refused() -> None:
    table = facts.load("autonomy")
    table["odd"]["propilot_1_0"]["highway"] = ["autobahn"]
    with pytest.raises(domain.DomainError, match="'autobahn'; valid: motorway"):
        domain.rules("DE", table=table)
    table = facts.load("autonomy")
    table["levels"]["propilot_1_0"]["speed_max_kmh_eu_us"] = 0
    with pytest.raises(domain.DomainError, match="speed window is empty"):
        domain.rules("DE", table=table)


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


@pytest.mark.parametrize(("level", "name"), [(1, "propilot_1_0"), (2, "propilot_1_0_navi"), (3, "propilot_2_0")])
def test_long_trips_of_engaging_drivers_reach_the_share_of_the_facts(level: int, name: str) -> None:
    """share = P(trip) * share_of_eligible_km_when_engaged in the limit of a long stretch."""
    model = facts.load("autonomy")["model"]
    autonomy = room(corridor(300, length_m=1000, road_class="motorway"), cars=3000, level=level, hours=4)
    travel(autonomy)
    autonomy.finish()
    want = model["engage_prob_per_eligible_trip"]["regular"] * model["share_of_eligible_km_when_engaged"][name]
    # 300 km: the first delay costs 1.1 km; 3000 drivers give a standard error of 0.009
    assert autonomy.summary()["share"] == pytest.approx(want, abs=0.03)


@pytest.mark.parametrize(("level", "row"), [(1, 0), (3, 1)])
def test_v20_engaged_km_between_take_overs(level: int, row: int) -> None:
    target = next(t for t in facts.load("validation")["target"] if t["id"] == "V20")
    autonomy = room(corridor(100, length_m=1000, road_class="motorway"), cars=1500, level=level, hours=4)
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
        for name in ("driver", "cut_in", "lane")
    }
    total = sum(counts.values())
    assert total > 10_000
    for name, share in cause_shares(facts.load("autonomy")["events"]["aaa"]).items():
        assert counts[name] / total == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / total))


def test_leaving_the_domain_ends_it_and_is_the_only_cause_without_take_overs() -> None:
    road = corridor(12, length_m=1000, road_class="motorway")
    classes = road.link_class.copy()
    classes[6:] = PRIMARY
    autonomy = room(changed(road, link_class=classes), use=10)
    autonomy._mode_mean_mm[:] = 10**12
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
    autonomy._mode_mean_mm[:] = 10**12
    travel(autonomy)
    autonomy.finish()
    table = autonomy.table.arrays()
    assert table["disengagements_domain"].sum() > 30
    assert table["disengagements_arrival"].sum() > 30
    assert closed(autonomy)


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
    autonomy._mode_mean_mm[:] = 10**12
    autonomy._mode_delay_ms[:] = 1e-9
    autonomy._mode_here[:] = 1.0
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
    assert set(table["propilot_level"].tolist()) == set(domain.LEVELS)
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
    autonomy.link_domain[:] = False
    travel(autonomy, start_ms=HOUR, serial=1)
    assert autonomy.ledger()["breach_mm"] > 0


def test_bad_input_is_named() -> None:
    road = corridor(3, road_class="motorway")
    fleet = Fleet(1)
    fleet.propilot[:] = 7
    with pytest.raises(AutonomyError, match=r"holds 7; valid: 0 to 3"):
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
    with pytest.raises(AutonomyError, match="cannot reach"):
        here_share(model, "propilot_1_0")
