"""Effects and sensitivity indices of functions whose answers are known, through the whole layer but the simulation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runs.sweeping.adaptive import half_width, wanted
from runs.sweeping.collect import runs_table
from runs.sweeping.design import PlannedRun, runs_of
from runs.sweeping.effects import effects_of
from runs.sweeping.sweep_file import Sweep
from tests.sweep_cases import toy_sweep


def answered(sweep: Sweep, answer: Callable[[PlannedRun], float]) -> Any:
    """The table of a sweep whose runs answered `answer`."""
    planned = {str(i): run for i, run in enumerate(runs_of(sweep))}
    done = {
        key: {
            "status": "done",
            "why": "",
            "seconds": {"total": 1.0},
            "peak_memory_mb": 1.0,
            "disk_bytes": 1,
            "figures": {sweep.answers.figures[0]: answer(run)},
        }
        for key, run in planned.items()
    }
    return runs_table(sweep, planned, done, {})


def effect(rows: list[dict[str, Any]], measure: str, factor: str = "", level: str = "") -> dict[str, Any]:
    (found,) = [r for r in rows if (r["measure"], r["factor"], r["level"]) == (measure, factor, level)]
    return found


ONE = {"figures": ["grid.peak_kw"]}


def test_effects_of_a_table_worked_by_hand(tmp_path: Path) -> None:
    """y = 10 a + 4 b + 6 ab + luck of the seed: contrasts by hand, and luck cancels in pairs."""
    sweep = toy_sweep(tmp_path, answers=ONE)
    luck = {1: 100.0, 2: 300.0}

    def y(run: PlannedRun) -> float:
        a, b = run.scenario.fleet.bev == 0.6, run.point.levels["climate.ambient_c"] == 20.0
        return 10.0 * a + 4.0 * b + 6.0 * (a and b) + luck[run.scenario.seed]

    rows = effects_of(sweep, answered(sweep, y))
    pair = effect(rows, "paired_difference", "fleet.bev", "0.6 - 0.3")
    assert (pair["value"], pair["low"], pair["high"], pair["n"]) == (13.0, 13.0, 13.0, 2)  # (10 + 16) / 2
    assert effect(rows, "paired_difference", "climate.ambient_c", "20.0 - -5.0")["value"] == 7.0
    mean = effect(rows, "mean", "fleet.bev", "0.3")
    assert mean["value"] == 202.0
    assert mean["high"] - mean["value"] == pytest.approx(12.7062 * 100.0, rel=1e-4)  # t(0.975, 1) s / sqrt 2
    total = 2 * (13.0**2 + 7.0**2 + 3.0**2) + 8 * 100.0**2
    assert effect(rows, "main_share", "fleet.bev")["value"] == pytest.approx(2 * 13.0**2 / total)
    assert effect(rows, "interaction_share", "fleet.bev")["value"] == pytest.approx(2 * 3.0**2 / total)
    assert effect(rows, "replication_share")["value"] == pytest.approx(8 * 100.0**2 / total)


def test_rank_correlation_of_a_monotone_and_of_an_idle_factor(tmp_path: Path) -> None:
    factors = [{"key": "climate.ambient_c", "range": [-10.0, 30.0]}, {"key": "fleet.bev", "range": [0.1, 0.6]}]
    sweep = toy_sweep(tmp_path, answers=ONE, factor=factors, design={"kind": "sobol", "points": 64})
    rows = effects_of(sweep, answered(sweep, lambda run: float(np.exp(-run.scenario.climate.ambient_c / 10))))
    r = effect(rows, "rank_correlation", "climate.ambient_c")
    assert r["value"] == pytest.approx(-1.0)
    assert r["high"] < -0.99
    idle = effect(rows, "rank_correlation", "fleet.bev")
    assert idle["low"] < 0 < idle["high"]
    assert idle["n"] == 64


A, B = 7.0, 0.1


def ishigami(run: PlannedRun) -> float:
    """Ishigami and Homma (1990) of three factors of a scenario, each over -pi to pi."""
    x, y, z = (2 * np.pi * u - np.pi for u in run.point.unit)
    return float(np.sin(x) + A * np.sin(y) ** 2 + B * z**4 * np.sin(x))


def ishigami_sweep(folder: Path, **design: Any) -> Sweep:
    factors = [
        {"key": "climate.ambient_c", "range": [-10.0, 30.0]},
        {"key": "fleet.bev", "range": [0.1, 0.6]},
        {"key": "fleet.epower", "range": [0.0, 0.3]},
    ]
    return toy_sweep(folder, answers=ONE, factor=factors, design=design)


def test_sobol_indices_of_ishigami(tmp_path: Path) -> None:
    pytest.importorskip("SALib", reason="needs the extra `analysis` (SALib)")
    from runs.sweeping.indices import indices_of

    sweep = ishigami_sweep(tmp_path, kind="saltelli", points=4096, second_order=False)
    planned = runs_of_unit(sweep)
    rows = indices_of(sweep, planned)
    v1, v2 = 0.5 * (1 + B * np.pi**4 / 5) ** 2, A**2 / 8
    v13 = B**2 * np.pi**8 * 8 / 225
    v = v1 + v2 + v13
    exact = {
        ("s1", "climate.ambient_c"): v1 / v,
        ("s1", "fleet.bev"): v2 / v,
        ("s1", "fleet.epower"): 0.0,
        ("st", "climate.ambient_c"): (v1 + v13) / v,
        ("st", "fleet.bev"): v2 / v,
        ("st", "fleet.epower"): v13 / v,
    }
    found = {(r["index"], r["factor"]): r for r in rows}
    assert found.keys() == exact.keys()
    for name, value in exact.items():
        assert found[name]["value"] == pytest.approx(value, abs=0.02), name
        assert found[name]["low"] <= value <= found[name]["high"], name


def runs_of_unit(sweep: Sweep) -> Any:
    """As `answered`, for designs too large to check every scenario in a test."""
    import pyarrow as pa

    from runs.sweeping.design import points

    found = points(sweep)
    values = [ishigami(PlannedRun(p, 0, None)) for p in found]  # type: ignore[arg-type]
    return pa.table(
        {"point": [p.number for p in found], "status": ["done"] * len(found), sweep.answers.figures[0]: values}
    )


def test_morris_finds_what_matters(tmp_path: Path) -> None:
    pytest.importorskip("SALib", reason="needs the extra `analysis` (SALib)")
    from runs.sweeping.indices import indices_of

    factors = [{"key": "climate.ambient_c", "range": [-10.0, 30.0]}, {"key": "fleet.bev", "range": [0.1, 0.6]}]
    sweep = toy_sweep(tmp_path, answers=ONE, factor=factors, design={"kind": "morris", "points": 10})
    rows = indices_of(sweep, answered(sweep, lambda run: 3.0 * run.point.unit[0]))
    found = {(r["index"], r["factor"]): r["value"] for r in rows}
    assert found["mu_star", "climate.ambient_c"] == pytest.approx(3.0)  # of a line, its slope in the unit cube
    assert found["sigma", "climate.ambient_c"] == pytest.approx(0.0, abs=1e-9)
    assert found["mu_star", "fleet.bev"] == pytest.approx(0.0, abs=1e-9)


def test_replications_are_added_where_the_interval_is_wide(tmp_path: Path) -> None:
    rule = {"figure": "grid.peak_kw", "half_width": 0.1, "most": 5}
    sweep = toy_sweep(tmp_path, adaptive=rule, design={"replications": 3}, answers=ONE)
    planned = runs_of(sweep)

    def records(noise: float, of: list[PlannedRun]) -> dict[str, dict[str, Any]]:
        return {
            str(i): {
                "about": {"point": r.point.number},
                "figures": {"grid.peak_kw": 100.0 + (noise * (r.replication - 1) if r.point.number == 2 else 0.0)},
            }
            for i, r in enumerate(of)
        }

    assert half_width([90.0, 100.0, 110.0]) == pytest.approx(4.3027 * 10 / np.sqrt(3) / 100, rel=1e-4)
    assert wanted(sweep, planned, records(1.0, planned)) == {}
    more = wanted(sweep, planned, records(20.0, planned))
    assert more == {0: 3, 1: 3, 2: 4, 3: 3}
    longer = runs_of(sweep, replications=more)
    assert [r.scenario for r in longer[: len(planned)]] == [r.scenario for r in planned]  # what is done stays done
    assert len(longer) == 13
    most = runs_of(sweep, replications={0: 3, 1: 3, 2: 5, 3: 3})
    assert wanted(sweep, most, records(50.0, most)) == {}  # at the most: it ends
