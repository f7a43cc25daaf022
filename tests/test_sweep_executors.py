"""Executors: every run once, with the tables of a single run, whatever is killed; reasons of those that fail."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from runs.results import RunResult
from runs.single import run
from runs.sweeping.design import runs_of
from runs.sweeping.launcher import Launcher
from runs.sweeping.local import execute
from runs.sweeping.place import Place, task_of
from runs.sweeping.sweep import sweep
from runs.sweeping.sweep_file import SweepError
from runs.sweeping.task import Outcome, Task
from tests.sweep_cases import toy_sweep
from tests.sweep_chaos import command, environment, trial, write_sweep


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep of eight runs."""
    folder = tmp_path_factory.mktemp("done")
    s = toy_sweep(folder, answers={"figures": ["fleet.driving_km"], "series": ["grid_load"]})
    result = sweep(s, workers=2, out=folder / "out")
    assert (result.total, result.done, result.run_here, result.failed, result.complete) == (8, 8, 8, {}, True)
    return folder


def test_runs_of_a_sweep_are_single_runs(done: Path) -> None:
    """Forked from a warm process or run alone: the same tables to the last bit, and the summary's figures."""
    place = Place(done / "out")
    planned = runs_of(place.sweep())[5]
    rows = [r for r in sweep(place.sweep(), out=done / "out").table().to_pylist() if r["point"] == planned.point.number]
    row = rows[planned.replication]
    alone = run(planned.scenario, out=done / "alone")
    ours = RunResult(place.results(row["run_key"]))
    digests = [{n: f.get("digest") for n, f in r.manifest["files"].items()} for r in (alone, ours)]
    same = {n for n in digests[0] if n.endswith(".parquet")}
    assert len(same) > 8
    assert {n: digests[0][n] for n in same} == {n: digests[1][n] for n in same}
    assert row["fleet.driving_km"] == alone.summary["fleet"]["driving_km"]
    assert (row["seed"], row["p.fleet.bev"]) == (planned.scenario.seed, planned.scenario.fleet.bev)


def test_a_finished_sweep_runs_nothing_and_says_the_same(done: Path) -> None:
    before = (done / "out" / "runs.parquet").read_bytes()
    again = sweep(Place(done / "out").sweep(), out=done / "out")
    assert (again.run_here, again.done) == (0, 8)
    assert (done / "out" / "runs.parquet").read_bytes() == before
    series = again.table("series").to_pandas()
    assert series.groupby("run_key").size().tolist() == [8] * 8  # two hours of quarters
    load = series[series.run_key == series.run_key[0]].value.sum() / 4
    grid = RunResult(Place(done / "out").results(series.run_key[0])).summary["grid"]
    assert load == pytest.approx(grid["energy_kwh"], abs=1e-3)


def test_a_damaged_or_foreign_record_is_not_believed(done: Path, tmp_path: Path) -> None:
    shutil.copytree(done / "out", tmp_path / "out")
    records = sorted((tmp_path / "out" / "records").iterdir())
    records[0].write_text(records[0].read_text()[:100])
    records[1].write_text(records[2].read_text())
    result = sweep(Place(done / "out").sweep(), workers=1, out=tmp_path / "out")
    assert (result.done, result.run_here) == (8, 2)


def test_parts_make_the_whole(done: Path, tmp_path: Path) -> None:
    s = Place(done / "out").sweep().model_copy(update={"run": toy_sweep(done, run={"keep": "records"}).run})
    first = sweep(s, workers=2, out=tmp_path / "out", shard="1/2")
    assert (first.done, first.complete, first.why) == (4, False, "4 runs belong to other parts and are not done yet")
    assert not (tmp_path / "out" / "runs.parquet").exists()
    second = sweep(s, workers=2, out=tmp_path / "out", shard="2/2")
    assert (second.done, second.run_here, second.complete) == (8, 4, True)
    assert not any((tmp_path / "out" / "runs").iterdir())  # records only
    one, two = (json.loads(json.dumps(sweep(s, out=o).table().to_pylist())) for o in (done / "out", tmp_path / "out"))
    timing = {"seconds", "memory_mb", "disk_bytes"}
    assert [{k: v for k, v in r.items() if k not in timing} for r in one] == [
        {k: v for k, v in r.items() if k not in timing} for r in two
    ]


def test_two_drivers_do_not_share_a_folder(done: Path) -> None:
    place = Place(done / "out")
    with place.lock(), pytest.raises(SweepError, match="another twin sweep works here now"):
        sweep(place.sweep(), out=done / "out")


def tasks(folder: Path, n: int) -> list[Task]:
    s = toy_sweep(folder)
    return [task_of(Place(folder / "out"), s, f"run{i}", r) for i, r in enumerate(runs_of(s)[:n])]


def test_failures_are_told_and_do_not_sink_the_rest(tmp_path: Path) -> None:
    """A run without its map fails with its reason, one that is always killed after its attempts; the third is done."""
    good, gone, doomed = tasks(tmp_path, 3)
    gone = Task(**{**vars(gone), "scenario": gone.scenario.replace("toy.map.npz", "none.map.npz")})
    doomed = Task(**{**vars(doomed), "memory_mb": 1})  # no process fits: every attempt runs out of memory
    told: list[tuple[str, str, int]] = []
    found = execute(
        [gone, doomed, good],
        workers=2,
        attempts=3,
        tell=lambda task, outcome, attempt: told.append((task.key, outcome.state, attempt)),
    )
    assert found["run0"] == Outcome("done")
    assert found["run1"].state == "failed"
    assert "none.map.npz" in found["run1"].reason
    assert found["run2"].reason.startswith("lost 3 times, the last: ")
    assert [t for t in told if t[0] == "run2"] == [("run2", "lost", 1), ("run2", "lost", 2), ("run2", "failed", 3)]


def test_a_failed_run_is_in_the_tables_and_not_tried_again(tmp_path: Path) -> None:
    s = toy_sweep(tmp_path, run={"memory_mb": 1, "attempts": 1}, design={"replications": 1})
    first = sweep(s, workers=2, out=tmp_path / "out")
    assert (first.done, len(first.failed), first.complete) == (0, 4, True)
    assert first.table().column("status").to_pylist() == ["failed"] * 4
    assert (
        "out of memory" in first.table().column("why")[0].as_py() or "ended" in first.table().column("why")[0].as_py()
    )
    assert sweep(s, workers=2, out=tmp_path / "out").run_here == 0
    s = toy_sweep(tmp_path, design={"replications": 1})
    again = sweep(s, workers=2, out=tmp_path / "out", again=True)
    assert (again.done, again.failed) == (4, {})


def test_a_nursery_is_safe_to_fork_and_its_loss_is_one_attempt(tmp_path: Path) -> None:
    (task,) = tasks(tmp_path, 1)
    launcher = Launcher()
    try:
        launcher.start(task)
        assert launcher.threads == 1  # forking with threads could hang a child for ever
        os.kill(launcher.pid, signal.SIGKILL)
        ended: list[Any] = []
        until = time.monotonic() + 60
        while not ended and time.monotonic() < until:
            ended = launcher.ended(1.0)
        assert ended == [(task.key, None)]
        launcher.start(task)  # a new one, and the run waits for what is left of the first
        ended = []
        while not ended and time.monotonic() < until + 120:
            ended = launcher.ended(1.0)
        assert ended == [(task.key, 0)]
    finally:
        launcher.close()
    assert Path(task.record).is_file()


def test_a_run_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    (task,) = tasks(tmp_path, 1)
    task = Task(**{**vars(task), "scenario": task.scenario.replace('until = "2h"', 'until = "200h"')})
    found = execute([task], workers=1, attempts=2, timeout_s=0.3)
    assert found[task.key] == Outcome("failed", "lost 2 times, the last: killed by SIGKILL")


def test_sigterm_saves_checkpoints_and_the_same_command_goes_on(tmp_path: Path) -> None:
    """What a walltime's end does: the run at work stops at its checkpoint and goes on from there."""
    file = write_sweep(tmp_path, 4)
    file.write_text(file.read_text().replace("[design]", 'until = "240h"\n[design]').replace("[0.3, 0.6]", "[0.3]"))
    file.write_text(file.read_text().replace("[-5.0, 20.0]", "[20.0]"))
    out = tmp_path / "out"
    driver = subprocess.Popen(command(file, out, "--workers", "1"), env=environment(), stdout=-3, stderr=-3)
    until = time.monotonic() + 200
    while not list(out.glob("runs/.*.part/log.jsonl")) and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(0.3)
    driver.send_signal(signal.SIGTERM)
    assert driver.wait(60) == 143
    assert list(out.glob("runs/*/checkpoint/state-*.ckpt"))
    ended = subprocess.run(command(file, out, "--quiet"), env=environment(), check=True, capture_output=True, text=True)
    assert json.loads(ended.stdout)["done"] == 1
    (record,) = [json.loads(p.read_text()) for p in (out / "records").iterdir()]
    assert record["resumed_s"][0] > 0


@pytest.mark.slow
def test_killed_runs_and_drivers_change_nothing(tmp_path: Path) -> None:
    """The short form of `python -m tests.sweep_chaos`: a third of the runs and a driver killed."""
    found = trial(tmp_path, runs=16, executor="local", share=0.3, drivers=1, seed=3)
    assert found["processes"] > 16
    assert sum(found["killed"].values()) >= 2
    assert found["drivers_killed"] == 1


@pytest.mark.slow
def test_dask_loses_nothing(tmp_path: Path) -> None:
    for package in ("distributed", "cryptography"):
        pytest.importorskip(package, reason=f"needs the extra `cluster` ({package})")
    found = trial(tmp_path, runs=12, executor="dask", share=0.3, drivers=0, seed=4)
    assert found["processes"] > 12


def test_addresses_that_let_everyone_in_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="needs the extra `cluster` (distributed)")
    for address in ("tcp://10.0.0.7:8786", "10.0.0.7:8786", "http://x:1"):
        with pytest.raises(SweepError, match="--address"):
            sweep(toy_sweep(tmp_path), executor="dask", address=address, out=tmp_path / "out")


def test_without_workers_dask_says_so_and_ends(tmp_path: Path) -> None:
    """A scheduler that nobody works for: no silent hang."""
    distributed = pytest.importorskip("distributed", reason="needs the extra `cluster` (distributed)")
    from runs.sweeping.cluster import at
    from runs.sweeping.launcher import WorkersError

    del distributed
    scheduler = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
         "--scheduler-file", str(tmp_path / "scheduler.json")],
        stdout=-3, stderr=-3,
    )  # fmt: skip
    try:
        until = time.monotonic() + 60
        while not (tmp_path / "scheduler.json").exists() and time.monotonic() < until:
            time.sleep(0.1)
        time.sleep(0.5)
        cluster = at(json.loads((tmp_path / "scheduler.json").read_text())["address"])
        cluster.patience_s = 3.0
        with pytest.raises(WorkersError, match="no worker for"):
            sweep(toy_sweep(tmp_path), executor="dask", cluster=cluster, out=tmp_path / "out")
    finally:
        scheduler.kill()
        scheduler.wait()
    assert threading.active_count() < 50


@pytest.mark.slow
@pytest.mark.parametrize("way", ["dask-jobqueue", "array"])
def test_a_real_slurm(tmp_path: Path, way: str) -> None:
    """Needs `.ci/slurm start` and SLURM_CONF; an array job in two parts, and workers as jobs."""
    if shutil.which("sbatch") is None or "SLURM_CONF" not in os.environ:
        pytest.skip("needs a SLURM: apt-get install slurm-wlm munge, .ci/slurm start, export SLURM_CONF")
    file = write_sweep(tmp_path, 8)
    file.write_text(
        file.read_text()
        + '[slurm]\nqueue = "debug"\nmemory = "1GB"\nwalltime = "00:10:00"\njobs = 2\ninterface = "lo"\n'
    )
    out = tmp_path / "out"
    if way == "array":
        from runs.sweeping.forecast import array_script
        from runs.sweeping.sweep_file import Sweep

        script = tmp_path / "job.sh"
        script.write_text(array_script(Sweep.load(file), str(file), out, parts=2))
        subprocess.run(["sbatch", "--wait", str(script)], check=True, cwd=tmp_path, env=environment(), timeout=400)
    else:
        for package in ("dask_jobqueue", "cryptography"):
            pytest.importorskip(package, reason=f"needs the extra `cluster` ({package})")
        subprocess.run(
            command(file, out, "--executor", "slurm"),
            check=True,
            cwd=tmp_path,
            env=environment(),
            timeout=400,
            stdout=-3,
        )
    assert len(list((out / "records").iterdir())) == 8
    assert (out / "runs.parquet").is_file()
