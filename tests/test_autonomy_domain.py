"""Operating domains as data: link by link, level by level, weather, light, and refusals."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from maps.network import MOTORROAD, ONEWAY, RAMP, ROAD_CLASSES, TUNNEL
from maps.toy import corridor
from tests.test_autonomy_propilot import changed, expressway
from twin.autonomy import domain
from twin.autonomy.conditions import SUNSET_DEG, Weather, declination_rad, sun_deg
from twin.autonomy.domain import Conditions, DomainError, Rule
from twin.autonomy.rules import LEVELS, RulesError, load_rules
from twin.settings import ClimateSettings

CLASS = {name: number for number, name in enumerate(ROAD_CLASSES)}


def test_domain_follows_the_facts_link_by_link() -> None:
    road = expressway(10)
    classes, flags = road.link_class.copy(), road.link_flags.copy()
    lanes, radius = road.link_lanes.copy(), np.full(10, np.inf, np.float32)
    classes[1] = classes[2] = CLASS["trunk"]
    flags[2] |= MOTORROAD
    classes[3] = CLASS["primary"]
    flags[3] |= MOTORROAD
    classes[4] = CLASS["motorway_link"]
    flags[4] |= RAMP
    radius[4] = 60
    radius[5], radius[6] = 260, 240
    flags[7] |= TUNNEL
    lanes[8] = 1
    flags[9] &= ~np.uint16(ONEWAY)
    road = changed(road, link_class=classes, link_flags=flags, link_radius=radius, link_lanes=lanes)

    japan = domain.modes(road, domain.rules(), country="JP")
    assert japan[0, 0].tolist() == [0] * 10
    assert japan[0, 1].tolist() == [1, 0, 1, 0, 0, 1, 0, 1, 1, 1]
    assert japan[0, 2].tolist() == [2, 0, 2, 0, 0, 2, 0, 2, 2, 2]
    # 2.0 needs a divided motorway of two lanes and 300 m; where only 1.0 may drive, the car falls back to it
    assert japan[0, 3].tolist() == [3, 0, 1, 0, 0, 1, 0, 3, 1, 1]
    # destination management takes ramps and tighter curves of highways
    assert japan[0, 4].tolist() == [4, 0, 4, 0, 4, 4, 4, 4, 4, 1]
    # without destination or map, both are 1.0
    assert japan[1, 3].tolist() == japan[1, 4].tolist() == japan[1, 1].tolist()
    abroad = domain.modes(road, domain.rules(), country="DE")
    assert abroad[0, 3].tolist() == abroad[0, 1].tolist()
    mapped = domain.modes(road, domain.rules(map_countries=["DE"]), country="DE")
    assert np.array_equal(mapped, japan)


@pytest.mark.parametrize(
    ("now", "open_"),
    [
        (Conditions(0), (1, 3)),
        (Conditions(8), (1, 3)),
        (Conditions(8.1), (1, 1)),
        (Conditions(15), (1, 1)),
        (Conditions(15.1), (0, 0)),
        (Conditions(0.4, snow=True), (1, 1)),
        (Conditions(0.6, snow=True), (0, 0)),
        (Conditions(0, dark=True), (1, 3)),
    ],
)
def test_weather_closes_the_domain_level_by_level(now: Conditions, open_: tuple[int, int]) -> None:
    mode = domain.modes(expressway(2), domain.rules(), country="JP", conditions=now)
    assert (mode[0, 1, 0], mode[0, 3, 0]) == open_


def test_gradient_closes_steep_links_where_heights_are_given() -> None:
    grade = np.array([0.0, 0.059, -0.065, 0.071])
    mode = domain.modes(expressway(4), domain.rules(), country="JP", grade=grade)
    assert mode[0, 1].tolist() == [1, 1, 1, 0]
    assert mode[0, 3].tolist() == [3, 3, 1, 0]


def test_cases_are_nested_at_every_level_and_in_every_weather() -> None:
    road = expressway(12)
    classes, flags, radius = road.link_class.copy(), road.link_flags.copy(), road.link_radius.copy()
    classes[:] = [CLASS[n] for n in ("motorway", "motorway_link", "trunk", "trunk_link", "primary", "residential")] * 2
    flags[[1, 3, 7, 9]] |= RAMP
    flags[6:] |= MOTORROAD
    flags[0] |= TUNNEL
    radius[6:] = 300
    road = changed(road, link_class=classes, link_flags=flags, link_radius=radius)
    for now in (Conditions(), Conditions(5), Conditions(9, dark=True), Conditions(0.2, snow=True)):
        inside = [
            domain.modes(road, domain.rules(case=case), country="JP", conditions=now)[0] > 0
            for case in ("narrow", "facts", "wide")
        ]
        assert not (inside[0] & ~inside[1]).any() and not (inside[1] & ~inside[2]).any()
        assert not (inside[1][1] & ~inside[1][3]).any() and not (inside[1][3] & ~inside[1][4]).any()
    assert inside[2].sum() > inside[1].sum()


def rules_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "rules.toml"
    path.write_text(text, "utf-8")
    return path


def test_a_file_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    table = load_rules(rules_file(tmp_path, "[domain.propilot_1_0]\nmin_radius_m = 900\n"))
    changed_, facts = domain.rules(table=table), domain.rules()
    assert changed_[1] is not None and changed_[1].min_radius_m == 900
    assert changed_[2] is not None and changed_[2].min_radius_m == 900  # is like 1.0
    assert changed_[3] == facts[3]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[domain.propilot_3_0]\nramps = true", "unknown level 'propilot_3_0'; valid: propilot_1_0"),
        (
            "[domain.propilot_1_0]\nroads = ['autobahn']",
            "domain.propilot_1_0: unknown road 'autobahn'; valid: motorway",
        ),
        ("[domain.propilot_1_0]\nspeed_kmh = [60, 60]", r"the speed window is empty \(60 to 60 km/h\)"),
        ("[domain.propilot_2_0]\nmax_speed_kmh_by_year = { JP = [[2016, 0]] }", "the speed window is empty"),
        (
            "[domain.propilot_2_0]\nmax_speed_kmh_by_year = { JP = [[2019, 90], [2016, 100]] }",
            "years of JP are out of order",
        ),
        ("[domain.propilot_1_0]\nmin_radius_m = -1", "min_radius_m is -1, must be a number of 0 or more"),
        ("[domain.propilot_1_0]\nramps = 3", "ramps is 3, must be true or false"),
        ("[domain.propilot_1_0]\nlight = 'moon'", "light is 'moon'; valid: any, day"),
        ("[domain.propilot_1_0]\nradius = 3", "unknown key 'radius'; valid: roads"),
        ("[domain.propilot_1_0]\nlike = 'propilot_2_0'", "like must name a level before it"),
        ("[domain.propilot_1_0]\nfalls_back_to = 'driver'", "unknown level 'driver'"),
        ("[domain_case.mine]\npropilot_9 = { ramps = true }", "unknown level 'propilot_9'"),
        ("[weather]\nfog = 3", "unknown key 'fog'; valid: snow_at_or_below_c"),
        ("[domian.propilot_1_0]\nramps = true", "unknown table 'domian'; valid: domain"),
        ("[domain", "cannot be read as TOML"),
    ],
)
def test_bad_rules_are_named_and_refused(tmp_path: Path, text: str, says: str) -> None:
    path = rules_file(tmp_path, text)
    case = "mine" if "mine" in text else "facts"
    with pytest.raises(RulesError, match=says) as error:
        domain.rules(table=load_rules(path), case=case, place=str(path))
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_an_unknown_case_lists_the_cases() -> None:
    with pytest.raises(DomainError, match=r"autonomy.domain: unknown case 'all'; valid: narrow, facts, wide"):
        domain.rules(case="all")


def test_fastest_speed_by_model_year_and_country() -> None:
    rule = domain.rules()[1]
    assert rule is not None
    years = np.array([2014, 2016, 2018, 2019, 2020, 2021, 2023])
    assert (rule.fastest_mps("JP", years) * 3.6).round().tolist() == [100, 100, 100, 115, 115, 125, 125]
    assert set((rule.fastest_mps("US", years) * 3.6).round().tolist()) == {144}
    assert Rule(roads=["motorway"]).fastest_mps("JP", years).tolist() == [np.inf] * 7


# ------------------------------------------------------------------ light and weather


@pytest.mark.parametrize(("latitude", "day"), [(35.0, 172), (35.0, 355), (60.2, 285), (-34.0, 20), (0.0, 80)])
def test_day_length_is_the_closed_form(latitude: float, day: int) -> None:
    """cos(half day) = (sin(-0.833) - sin(lat) sin(decl)) / (cos(lat) cos(decl))."""
    declination = declination_rad(day)
    lat = np.radians(latitude)
    cosine = (np.sin(np.radians(SUNSET_DEG)) - np.sin(lat) * np.sin(declination)) / (np.cos(lat) * np.cos(declination))
    start = datetime(2022, 1, 1) + timedelta(days=day - 1)
    heights = [sun_deg(start + timedelta(minutes=m), latitude, 0.0) for m in range(1440)]
    assert sum(h > SUNSET_DEG for h in heights) / 60 == pytest.approx(24 * np.arccos(cosine) / np.pi, abs=0.05)


def test_the_sun_stands_still_in_june_and_december_and_crosses_in_march() -> None:
    """Declination of 21 June and 21 December: 23.44 degrees either way; 20 March 2022, 15:33 UTC: zero."""
    degrees = [np.degrees(declination_rad(day)) for day in (172, 355, 79)]
    assert degrees == pytest.approx([23.44, -23.44, 0.0], abs=0.5)


def test_sunset_of_helsinki_in_october() -> None:
    """12 October 2022: sunrise 7:47, sunset 18:18 summer time (almanac)."""
    weather = Weather(
        ClimateSettings(),
        start=datetime(2022, 10, 12),
        timezone="Europe/Helsinki",
        latitude_deg=60.17,
        longitude_deg=24.94,
    )
    minutes = [datetime(2022, 10, 12) + timedelta(minutes=m) for m in range(1440)]
    up = [t for t in minutes if weather.sun_deg(t) > SUNSET_DEG]
    assert abs((up[0] - datetime(2022, 10, 12, 7, 47)).total_seconds()) < 600
    assert abs((up[-1] - datetime(2022, 10, 12, 18, 18)).total_seconds()) < 600
    assert [weather.at(h).dark for h in (3, 12, 22)] == [True, False, True]


def test_precipitation_is_snow_when_it_freezes_and_follows_the_hour_of_the_day() -> None:
    mm, celsius = [0.0] * 24, [5.0] * 24
    mm[7], mm[9], celsius[9] = 3.0, 2.0, -1.0
    climate = ClimateSettings(precipitation_mm_h=mm, ambient_c=celsius)
    weather = Weather(climate, start=datetime(2022, 10, 12, 6))
    assert [weather.at(h)[:2] for h in range(4)] == [(0.0, False), (3.0, False), (0.0, False), (2.0, True)]
    assert weather.at(24 + 1)[:2] == (3.0, False)


def test_a_case_by_day_is_closed_at_night_and_long_stretches_follow_the_weather() -> None:
    mode = domain.modes(corridor(3, road_class="motorway"), domain.rules(case="narrow"), country="JP")
    assert (mode[0, 1] == 1).all()
    dark = Conditions(dark=True)
    mode = domain.modes(corridor(3, road_class="motorway"), domain.rules(case="narrow"), country="JP", conditions=dark)
    assert not mode[:, : len(LEVELS)].any()
