"""Scenarios: strict, frozen, hashable, said back in full; every bad file is one clear line."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from runs.scenario import Scenario, ScenarioError, built_in, keys

BASE = Scenario(map="helsinki")


def error_of(text: str | bytes, folder: Path) -> str:
    path = folder / "mine.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ScenarioError) as caught:
        Scenario.load(path)
    line = str(caught.value)
    assert line.isprintable()
    assert line.startswith(f"{path}: ")
    return line.removeprefix(f"{path}: ")


def test_every_built_in_scenario_loads_and_names_itself_and_a_recipe() -> None:
    from maps.get import recipe_names

    assert {"demo", "kyoto", "porto"} <= set(built_in())
    for name in built_in():
        scenario = Scenario.load(name)
        assert scenario.name == name
        assert scenario.map in recipe_names()


@settings(max_examples=60, deadline=None)
@given(
    cars=st.integers(1, 5_000_000),
    seed=st.integers(0, 2**63 - 1),
    bev=st.floats(0, 1),
    propilot=st.none() | st.floats(0, 1),
    ambient=st.floats(-50, 60) | st.lists(st.floats(-50, 60), min_size=24, max_size=24),
    outage=st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)), max_size=3),
    until=st.integers(1, 366 * 86_400),
    campaign=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1),
)
def test_resolved_toml_reads_back_equal(
    tmp_path_factory, cars, seed, bev, propilot, ambient, outage, until, campaign
) -> None:  # type: ignore[no-untyped-def]
    one = BASE.but(
        seed=seed,
        fleet__cars=cars,
        fleet__bev=bev,
        fleet__propilot=propilot,
        climate__ambient_c=ambient,
        cloud__outage=outage,
        until=until,
        ota__name=campaign,
    )
    path = tmp_path_factory.mktemp("s") / "mine.toml"
    path.write_text(one.to_toml(), "utf-8")
    again = Scenario.load(path)
    assert again == one
    assert hash(again) == hash(one)
    assert again.until_s == until


def test_keys_without_toml_value_default_to_none() -> None:
    # TOML has no null: a key that may be None must be None when it is left out, or it could not be read back
    for field in Scenario.model_fields.values():
        if isinstance(field.default, BaseModel):
            for name, inner in type(field.default).model_fields.items():
                if type(None) in get_args(inner.annotation):
                    assert inner.default is None, name


def test_hash_says_what_matters_and_nothing_else() -> None:
    same = [
        BASE.but(seed=5),
        BASE.but(name="other"),
        BASE.but(until="1d"),
        BASE.but(until=86_400),
        BASE.but(fleet__bev=0.35),
    ]
    assert {s.hash8 for s in same} == {BASE.hash8}
    other = [
        BASE.but(fleet__cars=999),
        BASE.but(until="23h"),
        BASE.but(map="kyoto"),
        BASE.but(charging__policy="timer"),
    ]
    assert len({s.hash8 for s in [BASE, *other]}) == 5
    assert BASE.but(seed=2, name="x").folder_name == f"x-{BASE.hash8}-s2"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("24h", 86_400),
        ("90m", 5_400),
        ("1d", 86_400),
        ("1h30m", 5_400),
        ("45", 45),
        (30, 30),
        (90.0, 90),
        ("0.5h", 1_800),
        ("1 h", 3600),
    ],
)
def test_durations(text: str | float, seconds: int) -> None:
    assert BASE.but(until=text).until_s == seconds


@pytest.mark.parametrize(
    "text", ["", "h", "-1h", "0", 0, -5, "1.00001s", "367d", "9" * 12, "1e3", True, "24h;", float("inf")]
)
def test_bad_durations(text: object) -> None:
    with pytest.raises(ScenarioError, match="until"):
        BASE.but(until=text)


def test_set_reads_toml_values_and_text() -> None:
    changed = BASE.set(
        "charging.policy=timer",
        "fleet.cars=7",
        f"climate.ambient_c={[1, 2.5] * 12}",
        'ota.name="x y"',
        "grid.homes_per_feeder=3",
    )
    assert changed.charging.policy == "timer"
    assert changed.fleet.cars == 7
    assert changed.climate.ambient_c == [1.0, 2.5] * 12
    assert (changed.ota.name, changed.grid.homes_per_feeder) == ("x y", 3)
    assert BASE.fleet.cars == 1000


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("policy", "key=value"),
        ("=3", "key=value"),
        ("charging.polcy=timer", 'did you mean "policy"'),
        ("polcy.x=1", "unknown key"),
        ("map.x=1", "not a table"),
        ("fleet.cars=nan", "must be a finite number"),
        ("fleet.cars=-inf", "must be a finite number"),
        ("fleet.cars=2.5", "fleet.cars: must be a valid integer"),
        ("fleet.cars=true", "fleet.cars: must be a valid integer"),
        ("charging.policy=smart", "uncontrolled, timer, tariff"),
        ("seed=99999999999999999999999", "seed: number too large"),
        ("name=../../etc", "name: must be letters"),
        ("name=..", "name: must be letters"),
    ],
)
def test_bad_set(assignment: str, says: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        BASE.set(assignment)
    assert says in str(caught.value)
    assert str(caught.value).isprintable()


def test_unknown_key_lists_all_valid_ones_and_the_nearest(tmp_path: Path) -> None:
    line = error_of('map = "a"\n[charging]\npolcy = "timer"', tmp_path)
    assert line.startswith('charging.polcy: unknown key; did you mean "policy"?')
    for key in keys():
        if key.startswith("charging."):
            assert key.removeprefix("charging.") in line
    assert 'did you mean "charging.policy"?' in error_of('map = "a"\npolicy = "timer"', tmp_path)
    line = error_of('map = "a"\nzzz = 1', tmp_path)
    assert all(key in line for key in ("name", "map", "seed", "start", "until", "fleet"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seed = 1", "map: is missing"),
        ('map = "a"\n[fleet]\ncars = 0', "fleet.cars: must be greater than or equal to 1, is 0"),
        ('map = "a"\n[fleet]\nbev = nan', "fleet.bev: must be a finite number, is nan"),
        ('map = "a"\n[fleet]\nbev = -0.1', "fleet.bev: must be greater than or equal to 0"),
        ('map = "a"\n[fleet]\ncars = "5"', "fleet.cars: must be a valid integer, is '5'"),
        (
            'map = "a"\n[climate]\nambient_c = [1, 2]',
            "climate.ambient_c: must be one number or one per hour (24), not 2",
        ),
        ('map = "a"\n[climate]\nambient_c = [1, 99]', "climate.ambient_c.1: must be less than or equal to 60, is 99"),
        ('map = "a"\nfleet = 3', "fleet: must be a table"),
        ('map = "a"\nmap = "b"', "not valid TOML"),
        ('map = "a"\nstart = 2022-10-12T00:00:00Z', "leave the zone out"),
        ("x = " + "[" * 5000 + "]" * 5000, "nested too deeply"),
        ("x = " + "1" * 5000, "thousands of digits"),
        (b"map = \0", "NUL"),
        ('map = "a"'.encode("utf-16"), "NUL"),
        (b'map = "\xff"', "not UTF-8"),
        (b"#" * 1_000_001, "larger than 1 MB"),
        ('map = "a\\u0000b"', "NUL"),
        ("map", "not valid TOML"),
        ("", "map: is missing"),
    ],
)
def test_bad_files(text: str | bytes, says: str, tmp_path: Path) -> None:
    assert says in error_of(text, tmp_path)


def test_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b'\xef\xbb\xbfmap = "a"')
    assert Scenario.load(path).name == "mine"


def test_not_a_file(tmp_path: Path) -> None:
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for name, says in [
        (tmp_path, "is a folder"),
        (fifo, "not a regular file"),
        (loop, "loop"),
        (tmp_path / "no.toml", "no such file"),
        ("kyotto", "did you mean kyoto?"),
        ("", "give a name"),
        ("a\0b", "give a name"),
    ]:
        with pytest.raises(ScenarioError) as caught:
            Scenario.load(name)
        assert says in str(caught.value)
        assert str(caught.value).isprintable()


def test_files_are_looked_for_beside_the_scenario(tmp_path: Path) -> None:
    (tmp_path / "town.osm.pbf").touch()
    (tmp_path / "cars.toml").touch()
    (tmp_path / "s.toml").write_text('map = "town.osm.pbf"\n[fleet]\nmodels = "cars.toml"', "utf-8")
    scenario = Scenario.load(tmp_path / "s.toml")
    assert scenario.map == str(tmp_path / "town.osm.pbf")
    assert scenario.fleet.models == str(tmp_path / "cars.toml")


def test_python_values_of_numpy_are_taken() -> None:
    assert BASE.but(seed=np.int64(3), climate__ambient_c=np.arange(24.0)).climate.ambient_c == list(
        map(float, range(24))
    )
    with pytest.raises(ScenarioError, match="not a value"):
        BASE.but(seed=object())


def test_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        BASE.seed = 3  # type: ignore[misc]


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=120) | st.text(max_size=120).map(str.encode))
def test_any_bytes_are_read_or_refused_in_one_line(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("s") / "mine.toml"
    path.write_bytes(b'map = "a"\n' + data)
    line = ""
    try:
        assert Scenario.load(path).map
    except ScenarioError as error:
        line = str(error)
    assert line.isprintable()


def test_toml_lists_every_key_once() -> None:
    text = BASE.to_toml()
    for key in keys():
        assert text.count(f"\n{key.rpartition('.')[2]} = ") + text.count(
            f"\n# {key.rpartition('.')[2]} = "
        ) >= 1 or text.startswith(key), key
    assert tomllib.loads(text)["fleet"]["cars"] == 1000
    assert json.dumps(tomllib.loads(text)["ota"])
