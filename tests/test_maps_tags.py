"""What OSM tags mean: every spelling that the shared extracts hold, and the odd ones mappers write."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maps.network import ROAD_CLASSES, SOCKET_KINDS
from maps.tags import (
    barrier_blocks,
    cars_allowed,
    default_kmh,
    direction,
    left_hand,
    parse_count,
    parse_kw,
    parse_speed,
    rules,
    station_sockets,
    way_lanes,
    way_speed,
)


@pytest.mark.parametrize(
    ("text", "country", "kmh"),
    [
        ("50", "", 50.0),
        ("65 mph", "US", 65 * 1.609344),
        ("30mph", "", 30 * 1.609344),
        ("50 km/h", "", 50.0),
        ("50;30", "", 30.0),
        ("50; 40", "PT", 40.0),
        ("none", "DE", 130.0),
        ("walk", "DE", 7.0),
        ("DE:urban", "", 50.0),
        ("DE:rural", "FI", 100.0),
        ("DE:zone:30", "", 30.0),
        ("DE:zone30", "", 30.0),
        ("FI:rural", "", 80.0),
        ("RU:living_street", "", 10.0),
        ("GB:nsl_single", "", 97.0),
        ("GB:national", "", None),
        ("signals", "DE", None),
        ("", "", None),
        ("fast", "", None),
        ("0", "", None),
        ("5000", "", None),
        ("-30", "", None),
        ("DE:zone:999", "", None),
        ("nan", "", None),
    ],
)
def test_speed_values(text: str, country: str, kmh: float | None) -> None:
    assert parse_speed(text, country) == pytest.approx(kmh)


def test_direction_and_condition_of_a_limit() -> None:
    tags = {"maxspeed": "100", "maxspeed:forward": "80", "maxspeed:conditional": "30 @ (22:00-06:00)"}
    assert way_speed(tags, "DE", forward=True) == 80
    assert way_speed(tags, "DE", forward=False) == 100
    assert way_speed({"maxspeed:conditional": "30 @ (22:00-06:00)"}, "DE", forward=True) == 30
    assert way_speed({"maxspeed": "signals", "source:maxspeed": "DE:rural"}, "", forward=True) == 100
    assert way_speed({"maxspeed:type": "sign"}, "DE", forward=True) is None


def test_every_country_has_a_speed_for_every_class_and_speeds_fall_with_rank() -> None:
    countries = [name for name in rules("speeds") if name != "classes"]
    assert {"", "JP", "DE", "PT", "FI", "US", "MC"} <= set(countries)
    for country in countries:
        for urban in (True, False):
            speeds = dict(zip(ROAD_CLASSES, default_kmh(country, urban=urban), strict=True))
            assert speeds["motorway"] >= speeds["primary"] >= speeds["tertiary"] >= speeds["living_street"] > 0
            assert default_kmh(country, urban=True)[0] <= default_kmh(country, urban=False)[0]


@pytest.mark.parametrize(
    ("tags", "oneway", "ahead", "back"),
    [
        ({"lanes": "2"}, True, 2, 2),
        ({"lanes": "2"}, False, 1, 1),
        ({"lanes": "3"}, False, 1, 1),
        ({"lanes": "4"}, False, 2, 2),
        ({"lanes": "1"}, False, 1, 1),
        ({"lanes": "2;3"}, True, 2, 2),
        ({"lanes": "3", "lanes:forward": "2"}, False, 2, 1),
        ({"lanes": "3", "lanes:backward": "2"}, False, 1, 2),
        ({"lanes": "3", "lanes:both_ways": "1"}, False, 1, 1),
        ({"lanes": "many"}, False, None, None),
        ({}, True, None, None),
    ],
)
def test_lanes(tags: dict[str, str], oneway: bool, ahead: int | None, back: int | None) -> None:
    assert way_lanes(tags, oneway=oneway) == ahead
    assert way_lanes(tags, oneway=oneway, forward=False) == back


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"oneway": "yes"}, 1),
        ({"oneway": "1"}, 1),
        ({"oneway": "-1"}, -1),
        ({"oneway": "no", "junction": "roundabout"}, 0),
        ({"junction": "roundabout"}, 1),
        ({"junction": "circular"}, 1),
        ({"highway": "motorway"}, 1),
        ({"highway": "motorway", "oneway": "no"}, 0),
        ({"highway": "motorway_link"}, 0),
        ({"oneway": "reversible"}, 0),
        ({"oneway": "alternating"}, 0),
        ({}, 0),
    ],
)
def test_direction(tags: dict[str, str], expected: int) -> None:
    assert direction(tags) == expected


@pytest.mark.parametrize(
    ("tags", "allowed"),
    [
        ({}, True),
        ({"access": "private"}, False),
        ({"access": "no"}, False),
        ({"access": "no", "motorcar": "yes"}, True),
        ({"access": "yes", "motor_vehicle": "no"}, False),
        ({"vehicle": "no", "motor_vehicle": "destination"}, True),
        ({"access": "forestry;agricultural"}, False),
        ({"access": "private;customers"}, True),
        ({"access": "destination"}, True),
        ({"area": "yes"}, False),
        ({"service": "emergency_access"}, False),
    ],
)
def test_access(tags: dict[str, str], allowed: bool) -> None:
    assert cars_allowed(tags) is allowed


def test_barriers() -> None:
    assert barrier_blocks({"barrier": "bollard"})
    assert not barrier_blocks({"barrier": "bollard", "motor_vehicle": "yes"})
    assert not barrier_blocks({"barrier": "gate"})
    assert barrier_blocks({"barrier": "gate", "access": "private"})
    assert not barrier_blocks({"barrier": "toll_booth"})
    assert not barrier_blocks({})


@pytest.mark.parametrize(
    ("text", "kw"),
    [
        ("22 kW", 22.0),
        ("22", 22.0),
        ("22kW", 22.0),
        ("22 kVA", 22.0),
        ("3,7 kW", 3.7),
        ("22000 W", 22.0),
        ("22000", 22.0),
        ("0.35 MW", 350.0),
        ("11;22 kW", 22.0),
        ("50 kW / 22 kW", 50.0),
        ("yes", None),
        ("", None),
        ("0", None),
        ("99999999 kW", None),
    ],
)
def test_power_spellings(text: str, kw: float | None) -> None:
    assert parse_kw(text) == pytest.approx(kw)


def test_stations_as_the_shared_extracts_tag_them() -> None:
    hersfeld = station_sockets({"socket:type2": "2", "socket:type2:output": "22 kW", "fee": "yes"}, "DE")
    assert [(s.kind, s.count, s.kw, s.assumed) for s in hersfeld] == [("type2", 2, 22.0, 0)]
    adlershof = station_sockets(
        {"socket:type2:output": "11 kW", "socket:type2:current": "32 A", "voltage": "400"}, "DE"
    )
    assert [(s.kind, s.count, s.kw, s.assumed) for s in adlershof] == [("type2", 1, 11.0, 2)]
    wildau = station_sockets({"socket:chademo": "1", "socket:type2": "1", "socket:type2_combo": "1"}, "DE")
    assert [s.kind for s in wildau] == ["chademo", "ccs", "type2"]
    assert all(s.assumed == 4 for s in wildau)
    bare = station_sockets({"capacity": "3"}, "DE")
    assert [(s.kind, s.count, s.assumed) for s in bare] == [("type2", 3, 5)]
    assert station_sockets({}, "JP")[0].kind == "type1"


def test_power_in_the_chademo_output_or_the_count_key() -> None:
    assert station_sockets({"socket:chademo:output": "44 kW"}, "JP")[0].kw == 44
    odd = station_sockets({"socket:type2": "22 kW", "capacity": "2"}, "DE")
    assert [(s.count, s.kw, s.assumed) for s in odd] == [(2, 22.0, 0)]
    three_phase = station_sockets({"socket:type2": "1", "socket:type2:current": "32", "voltage": "400 V"}, "DE")
    assert three_phase[0].kw == pytest.approx(400 * 32 * math.sqrt(3) / 1000)
    assert station_sockets({"socket:tesla_supercharger": "8"}, "US")[0].assumed & 1


def test_left_hand() -> None:
    assert left_hand("JP")
    assert left_hand("GB")
    assert not left_hand("DE")
    assert not left_hand("")


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=20), st.dictionaries(st.text(max_size=12), st.text(max_size=12), max_size=4))
def test_nothing_a_mapper_types_breaks_a_parser(text: str, tags: dict[str, str]) -> None:
    speed = parse_speed(text, "DE")
    assert speed is None or 3 <= speed <= 200
    count = parse_count(text)
    assert count is None or 1 <= count <= 200
    power = parse_kw(text)
    assert power is None or 0.5 <= power <= 1000
    noisy = {**tags, "socket:type2": text, "socket:chademo:output": text, "lanes": text, "capacity": text}
    for socket in station_sockets(noisy, text[:2]):
        assert socket.kind in SOCKET_KINDS
        assert socket.count >= 1
        assert socket.kw > 0
    assert direction(noisy) in (-1, 0, 1)
