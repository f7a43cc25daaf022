"""One run from scenario to folder: verdicts, stops, faults, and the same tables again."""

from __future__ import annotations

import json
import os
import signal
import threading
import tomllib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runs import compare, run
from runs.columns import table_digest
from runs.comparison import CompareError
from runs.progress import Moment, Progress
from runs.results import RunResult
from runs.scenario import Scenario
from runs.single import RunFailed, RunStopped
from tests.runs_fake import FakeWorld, install

BASE = Scenario(name="toy", map="toy").but(fleet__cars=60, until="24h")


def entries(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    install(monkeypatch)
    return tmp_path


def test_a_run_writes_what_the_contract_says(place: Path) -> None:
    result = run(BASE)
    assert result.path == place / "results" / BASE.folder_name
    assert entries(place / "results") == [BASE.folder_name]
    assert {
        "manifest.json",
        "scenario.toml",
        "summary.json",
        "log.jsonl",
        "cars.parquet",
        "map.parquet",
        "sites.parquet",
        "cells.parquet",
    } <= set(entries(result.path))
    m = result.manifest
    assert (m["status"], m["why"], m["seed"], m["until_s"], m["simulated_s"]) == ("done", "", 1, 86_400, 86_400)
    assert m["ledger"] == {"cars": 0, "joules": 0, "summary": 0}
    assert m["phase_s"] == {"move": 0.25}
    assert m["peak_memory_mb"] > 10
    assert m["timezone"]
    assert len(m["inputs"]["facts"]) == 64
    assert m["versions"]["mesa"].startswith("3.")
    assert set(m["files"]) == set(entries(result.path)) - {"manifest.json"}
    assert result.verify() == []
    assert result.scenario == BASE
    assert tomllib.loads((result.path / "scenario.toml").read_text("utf-8"))["fleet"]["cars"] == 60
    assert [json.loads(line)["level"] for line in (result.path / "log.jsonl").read_text("utf-8").splitlines()] == [
        "info",
        "info",
    ]
    assert result.table("cars").to_pandas()["km"].sum() == 60 * 61 / 2
    assert "60 cars" in repr(result)
    assert "<table>" in result._repr_html_()


def test_estimates_are_the_figures_of_the_summary(place: Path) -> None:
    summary = run(BASE).summary
    found = summary["estimates"]
    # 20 electric cars, one at each hour from 0 to 19 (0, 3, 6, … modulo 20): 6 kW at any moment
    assert found["grid_peak_kw"]["mean"] == pytest.approx(6)
    assert found["grid_energy_kwh"]["mean"] == pytest.approx(summary["grid"]["energy_kwh"]) == pytest.approx(120)
    assert found["autonomy_share"]["mean"] == pytest.approx(0.25)
    assert found["autonomy_share"]["low"] == pytest.approx(0.25)  # every car has the same share
    assert found["cloud_generated_bytes"]["mean"] == sum(1000 * (i + 1) for i in range(0, 60, 2))
    assert found["cloud_generated_bytes"]["n"] == 30
    for e in found.values():
        assert e["low"] <= e["mean"] <= e["high"]
        assert set(e) == {"mean", "low", "high", "n", "unit", "scaled_by"}


def test_running_again_replaces_and_gives_the_same_tables(place: Path) -> None:
    first = {n: table_digest(t) for n, t in ((n, run(BASE).table(n)) for n in ("cars", "sessions", "grid_load", "map"))}
    again = run(BASE)
    assert {n: table_digest(again.table(n)) for n in first} == first
    assert {n: again.manifest["files"][f"{n}.parquet"]["digest"] for n in first} == first
    assert entries(place / "results") == [BASE.folder_name]


def test_stuck_trips_degrade_a_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for stuck, status in ((1, "done"), (2, "degraded")):  # of 100 trips; the limit is 1 %
        install(monkeypatch, lambda world, stuck=stuck: setattr(world, "stuck", stuck))
        assert run(BASE).status == status
    assert "2 of 100 trips are stuck" in RunResult(place / "results" / BASE.folder_name).manifest["why"]


def test_an_open_ledger_degrades_a_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, lambda world: world.residual.update(joules=-7))
    result = run(BASE)
    assert result.status == "degraded"
    assert result.manifest["why"] == "ledgers do not close: joules -7"
    assert result.manifest["ledger"]["joules"] == -7


def test_a_summary_that_differs_from_its_tables_is_an_open_ledger(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(world: FakeWorld) -> None:
        true = world.summary

        def wrong() -> dict[str, Any]:
            said = true()
            said["grid"]["energy_kwh"] *= 1.001
            return said

        world.summary = wrong  # type: ignore[method-assign]

    install(monkeypatch, spoil)
    result = run(BASE)
    assert (result.status, result.manifest["ledger"]["summary"]) == ("degraded", 1)
    assert "grid_energy_kwh is" in (result.path / "log.jsonl").read_text("utf-8")


def test_a_fault_of_the_model_leaves_its_traceback_and_older_results(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run(BASE)

    def fail(tick: int) -> None:
        if tick == 5:
            raise ZeroDivisionError("in a kernel")

    install(monkeypatch, lambda world: setattr(world, "at_tick", fail))
    with pytest.raises(RunFailed, match="ZeroDivisionError: in a kernel") as caught:
        run(BASE)
    assert caught.value.path == done.path.with_name(done.path.name + ".failed")
    failed = RunResult(caught.value.path)
    assert (failed.status, failed.manifest["simulated_s"]) == ("failed", 300)
    assert (
        'raise ZeroDivisionError("in a kernel")'
        in json.loads((failed.path / "log.jsonl").read_text("utf-8").splitlines()[-1])["traceback"]
    )
    assert RunResult(done.path).verify() == []


def test_infinite_results_are_a_fault(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, lambda world: setattr(world, "power_kw", float("inf")))
    with pytest.raises(RunFailed, match=r"sessions\.meter_kwh of row 0 is infinite"):
        run(BASE)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_after_the_tick(place: Path, monkeypatch: pytest.MonkeyPatch, signum: int) -> None:
    install(
        monkeypatch,
        lambda world: setattr(world, "at_tick", lambda tick: os.kill(os.getpid(), signum) if tick == 7 else None),
    )
    before = signal.getsignal(signum)
    with pytest.raises(RunStopped) as caught:
        run(BASE)
    assert signal.getsignal(signum) is before
    result = caught.value.result
    assert caught.value.signal == signum
    assert result is not None
    assert (result.status, result.manifest["simulated_s"], result.manifest["signal"]) == ("stopped", 8 * 60, signum)
    assert result.table("cars").num_rows == 60
    assert result.verify() == []
    assert isinstance(caught.value, KeyboardInterrupt)  # a loop over runs ends too


def test_a_second_signal_ends_it_at_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(tick: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    install(monkeypatch, lambda world: setattr(world, "at_tick", twice))
    with pytest.raises(RunStopped) as caught:
        run(BASE)
    assert caught.value.result is None
    assert entries(place) == []


def test_a_stopped_run_is_replaced_by_a_finished_one_and_never_the_other_way(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancel = threading.Event()
    cancel.set()
    stopped = run(BASE, cancel=cancel)
    assert (stopped.status, stopped.manifest["simulated_s"]) == ("stopped", 0)
    done = run(BASE)
    assert done.path == stopped.path
    assert run(BASE, cancel=cancel).path.name == done.path.name + ".stopped"
    assert RunResult(done.path).status == "done"


def test_bad_input_leaves_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from maps.network import MapError

    def no_map(self: Scenario, say: object = None) -> None:
        raise MapError("x.osm: no drivable road")

    monkeypatch.setattr(Scenario, "city", no_map)
    with pytest.raises(MapError):
        run(BASE, out=place / "a" / "b")
    assert entries(place) == []


def test_progress_is_told_and_warnings_are_logged(
    place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    install(
        monkeypatch,
        lambda world: setattr(world, "at_tick", lambda tick: warnings.warn("odd", stacklevel=1) if tick == 2 else None),
    )
    moments: list[Moment] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        result = run(BASE.but(until="10m"), progress=moments.append)
    assert [m.now_s for m in moments] == [60.0 * (i + 1) for i in range(10)]
    assert moments[-1].share == 1
    assert "driving 3" in str(moments[0])
    assert any(
        json.loads(line)["from"] == "py.warnings"
        for line in (result.path / "log.jsonl").read_text("utf-8").splitlines()
    )
    assert capfd.readouterr() == ("", "")


def test_plain_progress_goes_to_stderr_every_ten_seconds(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr("runs.progress.time.monotonic", lambda: now[0])
    with Progress(bar=False) as progress:
        for second in range(35):
            now[0] = float(second)
            progress(Moment(second * 100.0, 3500.0, float(second), {"driving": 12}))
    out, err = capfd.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 3
    assert "29%  00:16 of 00:58  driving 12" in err
    assert "100x" in err


def test_compare_takes_pairs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = run(BASE)
    install(monkeypatch, lambda world: setattr(world, "power_kw", 7.0))
    more = run(BASE.but(charging__home_kw=7.0))
    found = compare(base, more)
    assert found.grid_peak_kw.mean == pytest.approx(1)
    assert found.grid_energy_kwh.mean == pytest.approx(20)
    # each of the 20 sessions of 60 cars gives 1 kWh more: a binomial count with the bootstrap's spread
    assert found.grid_energy_kwh.high - found.grid_energy_kwh.low == pytest.approx(
        2 * 1.96 * np.sqrt(60 * 1 / 3 * 2 / 3), rel=0.15
    )
    # what both share cancels: no difference, no interval
    for same in (found.autonomy_share, found.cloud_bytes):
        assert (same.mean, same.low, same.high) == (0, 0, 0)
    back = compare(more, base)
    assert (back.grid_peak_kw.mean, back.grid_peak_kw.low) == pytest.approx((-1, -found.grid_peak_kw.high))
    assert "grid_peak_kw" in str(found)


def test_compare_refuses_what_is_no_pair(place: Path) -> None:
    base = run(BASE)
    for other, what in (
        (BASE.but(seed=2), "seed"),
        (BASE.but(fleet__cars=30), "number of cars"),
        (BASE.but(until="1h"), "simulated seconds"),
    ):
        with pytest.raises(CompareError, match=what):
            compare(base, run(other))
