"""The sweep file: designs that are what they say, keys that name a run by content, and everything that is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runs.sweeping.design import points, runs_of
from runs.sweeping.keys import Keys
from runs.sweeping.place import Place
from runs.sweeping.sweep import Shard, sweep
from runs.sweeping.sweep_file import Sweep, SweepError, shipped
from tests.sweep_cases import toy_sweep

RANGES = [
    {"key": "climate.ambient_c", "range": [-10.0, 30.0]},
    {"key": "fleet.bev", "range": [0.01, 0.64], "scale": "log"},
    {"key": "fleet.cars", "range": [10, 13], "integer": True},
]


def test_a_grid_is_every_combination_once(tmp_path: Path) -> None:
    found = points(toy_sweep(tmp_path))
    assert [(p.levels["fleet.bev"], p.levels["climate.ambient_c"]) for p in found] == [
        (0.3, -5.0),
        (0.3, 20.0),
        (0.6, -5.0),
        (0.6, 20.0),
    ]
    assert [p.number for p in found] == [0, 1, 2, 3]


def test_ranges_of_a_grid_have_their_ends(tmp_path: Path) -> None:
    factor = [{"key": "climate.ambient_c", "range": [-10.0, 30.0], "steps": 5}]
    assert [p.levels["climate.ambient_c"] for p in points(toy_sweep(tmp_path, factor=factor))] == [-10, 0, 10, 20, 30]


@pytest.mark.parametrize("kind", ["random", "latin_hypercube", "sobol"])
def test_drawn_designs_fill_their_ranges(tmp_path: Path, kind: str) -> None:
    s = toy_sweep(tmp_path, factor=RANGES, design={"kind": kind, "points": 64})
    found = points(s)
    assert len(found) == 64
    assert found == points(s)  # the same every time
    assert found != points(toy_sweep(tmp_path, factor=RANGES, design={"kind": kind, "points": 64, "seed": 2}))
    c = np.array([p.levels["climate.ambient_c"] for p in found])
    share = np.array([p.levels["fleet.bev"] for p in found])
    cars = np.array([p.levels["fleet.cars"] for p in found])
    assert -10 <= c.min() < -6
    assert 26 < c.max() <= 30
    assert set(cars.tolist()) == {10, 11, 12, 13}
    # on log scale the median is the geometric mean 0.08; on a linear scale it were 0.325
    assert 0.04 < np.median(share) < 0.16
    if kind != "random":  # one point in each of 64 strata of every factor: what the two designs promise
        assert sorted(np.floor((c + 10) / 40 * 64).astype(int).tolist()) == list(range(64))


def test_replications_share_their_luck(tmp_path: Path) -> None:
    together = runs_of(toy_sweep(tmp_path, design={"replications": 3, "first_seed": 7}))
    assert [(r.replication, r.scenario.seed) for r in together] == [(r, 7 + r) for r in range(3) for _ in range(4)]
    apart = runs_of(toy_sweep(tmp_path, design={"replications": 3, "common_random_numbers": False}))
    assert len({r.scenario.seed for r in apart}) == 12


def test_seasons_and_cities_are_factors(tmp_path: Path) -> None:
    season = {
        "name": "season",
        "cases": {
            "winter": {"start": "2022-01-12T00:00:00", "climate": {"ambient_c": -3.0}},
            "summer": {"start": "2022-07-13T00:00:00", "climate.ambient_c": 24.0},
        },
    }
    city = {"key": "scenario", "name": "city", "values": ["demo", "kyoto"]}
    found = runs_of(toy_sweep(tmp_path, factor=[season, city], base={}))
    said = {(r.scenario.map, r.scenario.start.month, r.scenario.climate.ambient_c) for r in found}
    assert said == {(m, month, t) for m in ("helsinki", "kyoto") for month, t in ((1, -3.0), (7, 24.0))}


def test_a_key_names_a_run_by_what_it_is_run_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Keys().all(r.scenario for r in runs_of(toy_sweep(tmp_path)))
    assert len(set(first)) == 8
    assert first == Keys().all(r.scenario for r in runs_of(toy_sweep(tmp_path, name="other")))
    warmer = toy_sweep(tmp_path, base={"start": "2022-10-12T07:00:00", "charging.policy": "timer"})
    assert not set(first) & set(Keys().all(r.scenario for r in runs_of(warmer)))
    from maps.toy import toy_city

    toy_city(seed=2).save(tmp_path / "toy.map.npz")  # another map under the same name
    assert not set(first) & set(Keys().all(r.scenario for r in runs_of(toy_sweep(tmp_path))))
    monkeypatch.setattr("runs.sweeping.keys.program", lambda: "other code")
    assert not set(first) & set(Keys().all(r.scenario for r in runs_of(toy_sweep(tmp_path))))


BEV = {"key": "fleet.bev", "values": [0.3, 0.6]}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"factor": [BEV, BEV]}, "two factors have the name 'fleet.bev'"),
    ({"factor": [BEV, {**BEV, "name": "again"}]}, "two factors have the key 'fleet.bev'"),
    ({"factor": [{"key": "fleet.bevs", "values": [1]}]}, r"'fleet.bevs' is no key of a scenario; nearest: fleet.bev"),
    ({"factor": [{**BEV, "vales": [1]}]}, r"unknown key; did you mean 'values'\?"),
    ({"desing": {}}, r"unknown key; did you mean 'design'\?"),
    ({"design": {"replicatons": 2}}, r"unknown key; did you mean 'replications'\?"),
    ({"factor": [{"key": "fleet.bev", "range": [0.6, 0.3]}]}, r"the lower one first, is \[0.6, 0.3\]"),
    ({"factor": [{"key": "fleet.bev", "range": [0.0, 1.0], "scale": "log"}]}, "log scale must be above 0"),
    ({"factor": [{"key": "fleet.bev", "values": [0.3, 0.3]}]}, "a level twice"),
    ({"factor": [{"key": "fleet.bev", "values": []}]}, "has no level"),
    ({"factor": [{"key": "fleet.bev", "range": [0.1, 0.3]}]}, "a range needs `steps` in a grid"),
    ({"factor": [{"key": "seed", "values": [1, 2]}]}, "seed is set by the sweep"),
    ({"base": {"fleet.bev": 0.5}}, "fleet.bev is varied by a factor as well"),
    ({"design": {"kind": "gird"}}, "'grid', 'list', 'random'"),
    ({"design": {"kind": "sobol", "points": 10}}, "power of 2 for sobol, is 10; nearest: 8, 16"),
    ({"design": {"kind": "random"}}, "design.points is missing"),
    ({"factor": []}, r"a grid design needs \[\[factor\]\]"),
    ({"design": {"kind": "list"}}, r"a list design needs \[\[point\]\]"),
]


@pytest.mark.parametrize(("more", "said"), REFUSED, ids=[said[:30] for _, said in REFUSED])
def test_bad_files_are_refused_in_one_line(tmp_path: Path, more: dict[str, Any], said: str) -> None:
    with pytest.raises(SweepError, match=said) as error:
        toy_sweep(tmp_path, **more)
    assert "\n" not in str(error.value)


def test_impossible_levels_and_budgets_are_refused_before_anything_runs(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(SweepError, match=r"point 1 .*fleet.bev.*less than or equal to 1, is 1.5"):
        sweep(toy_sweep(tmp_path, factor=[{"key": "fleet.bev", "values": [0.5, 1.5]}]), out=out)
    with pytest.raises(SweepError, match=r"8 runs, budget.runs is 7"):
        sweep(toy_sweep(tmp_path, budget={"runs": 7}), out=out)
    with pytest.raises(SweepError, match=r"need about 0.03 GB, budget.disk_gb is 0.001"):
        sweep(toy_sweep(tmp_path, budget={"disk_gb": 0.001}), out=out)
    with pytest.raises(SweepError, match=r"executor 'lokal'; valid: local, dask, slurm"):
        sweep(toy_sweep(tmp_path), executor="lokal", out=out)
    assert not out.exists()


def test_the_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    mine = toy_sweep(tmp_path)
    Place(tmp_path / "mine").open(mine)
    Place(tmp_path / "mine").check(mine)
    Place(tmp_path / "mine").check(toy_sweep(tmp_path, design={"replications": 9}))  # more of the same sweep
    with pytest.raises(SweepError, match=r"holds the sweep toy-.*choose another --out"):
        sweep(toy_sweep(tmp_path, factor=[BEV]), out=tmp_path / "mine")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").touch()
    with pytest.raises(SweepError, match="holds something that is no sweep"):
        sweep(mine, out=tmp_path / "photos")


def test_no_space_is_refused_before_anything_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from runs.folder import DiskError

    monkeypatch.setattr("shutil.disk_usage", lambda _path: type("Usage", (), {"free": 1_000_000})())
    with pytest.raises(DiskError, match=r"8 runs need about 0.0 GB, 0.0 GB are free"):
        sweep(toy_sweep(tmp_path), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_shards_are_parts() -> None:
    assert Shard.read("3/64") == (3, 64)
    for bad in ("0/4", "5/4", "a/b", "3", "3/64/2"):
        with pytest.raises(SweepError, match="must be part/parts"):
            Shard.read(bad)


def test_shipped_sweeps_are_valid() -> None:
    assert shipped()
    for name in shipped():
        assert Sweep.load(name).name == name
