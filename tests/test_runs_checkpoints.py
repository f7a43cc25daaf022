"""Stop, kill, full disk, and going on: what a run leaves behind and what it makes of it."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from maps.network import CityMap
from maps.toy import toy_city
from runs import checkpoints as chain_file
from runs import run
from runs.checkpoints import ForeignError
from runs.cli import main
from runs.folder import DiskError, ResultsFolder
from runs.progress import Moment, Progress
from runs.results import ResultsError, RunResult
from runs.scenario import Scenario
from runs.single import RunStopped
from tests.checkpoint_cases import Reused
from tests.crash_points import try_points
from twin.checkpoint_file import CheckpointError

TOY = Scenario(name="toy", map="toy").but(
    fleet__cars=30,
    fleet__bev=0.7,
    fleet__epower=0.2,
    traffic__tick_s=900,
    until="12h",
    ota__start_h=0,
    ota__package_mb=5,
)
EAGER = 1e-9
"""A checkpoint after every tick."""


@pytest.fixture(scope="module")
def town() -> CityMap:
    return toy_city(4, homes=60)


@pytest.fixture(scope="module")
def fresh(town: CityMap) -> Reused:
    return Reused(TOY.build_on(town))


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, town: CityMap, fresh: Reused) -> Path:
    build = Scenario.build_on
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Scenario, "city", lambda self, say=None: town)
    same = lambda self, on: on is town and (self.hash8, self.seed) == (TOY.hash8, TOY.seed)
    monkeypatch.setattr(Scenario, "build_on", lambda self, on: fresh() if same(self, on) else build(self, on))
    return tmp_path


@pytest.fixture(scope="module")
def whole(town: CityMap, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Scenario, "city", lambda self, say=None: town)
        result = run(TOY, out=tmp_path_factory.mktemp("whole") / "run", checkpoint_s=None)
    assert (result.status, result.manifest["simulated_s"]) == ("done", 43_200)
    return result


def same(a: RunResult, b: RunResult) -> bool:
    digests = [{n: f["digest"] for n, f in r.manifest["files"].items() if "digest" in f} for r in (a, b)]
    assert len(digests[0]) >= 11
    return digests[0] == digests[1] and a.summary == b.summary and a.status == b.status


def stop_at(now_s: float, cancel: threading.Event) -> Any:
    return lambda moment: cancel.set() if moment.now_s >= now_s else None


def stopped(at_s: float, **more: Any) -> RunResult:
    cancel = threading.Event()
    return run(TOY, progress=stop_at(at_s, cancel), cancel=cancel, **more)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def states(folder: Path) -> list[str]:
    return sorted(p.name for p in (folder / "checkpoint").glob("state-*"))


def test_a_stopped_run_goes_on_to_the_same_results(whole: RunResult, place: Path) -> None:
    first = stopped(10_800)
    assert (first.status, first.manifest["simulated_s"], states(first.path)) == (
        "stopped",
        10_800,
        ["state-000001.ckpt"],
    )
    assert first.verify() == []
    second = stopped(21_600, resume=True, checkpoint_s=EAGER)
    assert second.path == first.path
    assert second.manifest["resumed_s"] == [10_800]
    assert len(states(second.path)) == 2
    told: list[Moment] = []
    last = run(TOY, resume=True, progress=told.append)
    assert told[0].now_s == 22_500
    assert last.manifest["resumed_s"] == [10_800, 21_600]
    assert same(last, whole)
    assert names(place / "results") == [TOY.folder_name]
    assert not (last.path / "checkpoint").exists()
    messages = (last.path / "log.jsonl").read_text("utf-8")
    assert messages.count("goes on from the checkpoint") == 2
    assert messages.count("ended before its time") == 2


def test_a_finished_run_says_so(whole: RunResult) -> None:
    before = (whole.path / "manifest.json").stat().st_mtime_ns
    again = run(TOY, out=whole.path, resume=True)
    assert (again.status, (whole.path / "manifest.json").stat().st_mtime_ns) == ("done", before)
    with pytest.raises(ResultsError, match=r"holds the finished run toy-.*-s1, not toy-.*-s2; choose another --out"):
        run(TOY.but(seed=2), out=whole.path, resume=True)


def test_resume_without_a_checkpoint_starts_at_the_beginning(whole: RunResult) -> None:
    result = run(TOY, resume=True)
    assert result.manifest["resumed_s"] == []
    assert same(result, whole)


def test_a_killed_run_goes_on(whole: RunResult, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill leaves the disk as it is at that moment: here, in the middle of a tick."""

    def kill(moment: Moment) -> None:
        if moment.now_s == 28_800:
            shutil.copytree("results", place / "killed" / "results")

    run(TOY, checkpoint_s=EAGER, progress=kill)
    monkeypatch.chdir(place / "killed")
    assert names(Path("results")) == [f".{TOY.folder_name}.part"]
    assert len(states(place / "killed" / "results" / f".{TOY.folder_name}.part")) == 2
    told: list[Moment] = []
    result = run(TOY, resume=True, progress=told.append)
    assert told[0].now_s == 28_800  # the tick that was under way is lost, no more
    assert same(result, whole)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_checkpoint(whole: RunResult, signum: int) -> None:
    def send(moment: Moment) -> None:
        if moment.now_s == 7_200:
            signal.raise_signal(signum)

    with pytest.raises(RunStopped) as caught:
        run(TOY, progress=send)
    assert caught.value.resumable
    assert caught.value.result is not None
    assert caught.value.result.manifest["simulated_s"] == 7_200
    assert same(run(TOY, resume=True), whole)


def test_a_second_signal_keeps_the_checkpoints_before(whole: RunResult) -> None:
    def send(moment: Moment) -> None:
        if moment.now_s == 7_200:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(RunStopped) as caught:
        run(TOY, progress=send, checkpoint_s=EAGER)
    assert (caught.value.result, caught.value.resumable) == (None, True)
    result = run(TOY, resume=True)
    assert result.manifest["resumed_s"] == [6_300]
    assert same(result, whole)


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(whole: RunResult) -> None:
    first = stopped(9_000, checkpoint_s=EAGER)
    newest = first.path / "checkpoint" / states(first.path)[-1]
    raw = bytearray(newest.read_bytes())
    raw[len(raw) // 2] ^= 1
    newest.write_bytes(raw)
    result = run(TOY, resume=True)
    assert result.manifest["resumed_s"] == [8_100]
    assert same(result, whole)


def test_damaged_checkpoints_are_refused_and_stay(place: Path) -> None:
    first = stopped(9_000)
    folder = first.path / "checkpoint"
    kept = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert {name[:5] for name in kept} == {"rows-", "state"}
    for name, raw in kept.items():
        (folder / name).write_bytes(raw[:-40] + bytes(40))
        with pytest.raises(CheckpointError, match=rf"{name}: damaged"):
            run(TOY, resume=True)
        assert (folder / name).read_bytes() == raw[:-40] + bytes(40)
        (folder / name).write_bytes(raw)
    (folder / "rows-000001.ckpt").unlink()
    with pytest.raises(CheckpointError, match=r"rows-000001\.ckpt: rows of a checkpoint cannot be read"):
        run(TOY, resume=True)
    assert RunResult(first.path).status == "stopped"
    assert names(place / "results") == [TOY.folder_name]


def test_a_foreign_checkpoint_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, town: CityMap) -> None:
    first = stopped(3_600, out="here")
    for other, said in (
        (TOY.but(seed=3), r"a checkpoint of toy-\w{8} with seed 1, not of toy-\w{8} with seed 3"),
        (TOY.but(fleet__cars=31), r"with seed 1, not of toy-\w{8} with seed 1"),
    ):
        with pytest.raises(ForeignError, match=said):
            run(other, out="here", resume=True)
    with monkeypatch.context() as patch:
        patch.setattr(chain_file, "code_sha256", lambda: "f" * 64)
        with pytest.raises(ForeignError, match=r"a checkpoint of program \w{8}, not of program ffffffff"):
            run(TOY, out="here", resume=True)
    with monkeypatch.context() as patch:
        patch.setattr(chain_file, "versions", lambda: dict.fromkeys(chain_file.PACKAGES, "0.1"))
        with pytest.raises(ForeignError, match=r"python 3\.\d+\.\d+, not of python 0\.1"):
            run(TOY, out="here", resume=True)
    other_town = toy_city(4, homes=60, seed=2)
    with monkeypatch.context() as patch:
        patch.setattr(Scenario, "city", lambda self, say=None: other_town)
        with pytest.raises(CheckpointError, match="made on another map; run without --resume"):
            run(TOY, out="here", resume=True)
    assert first.verify() == []
    assert run(TOY, out="here", resume=True).status == "done"


def test_another_processor_is_told(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    stopped(3_600)
    monkeypatch.setattr(chain_file, "cpu_target", lambda: "another")
    run(TOY, resume=True, progress=True)
    assert "from another processor" in capfd.readouterr().err


def test_starting_over_drops_the_checkpoint_and_says_so(whole: RunResult, capfd: pytest.CaptureFixture[str]) -> None:
    stopped(3_600)
    result = run(TOY, progress=True)
    assert "starting over; --resume would go on" in capfd.readouterr().err
    assert result.manifest["resumed_s"] == []
    assert same(result, whole)
    assert not (result.path / "checkpoint").exists()


def test_rows_are_written_once(place: Path) -> None:
    """Each checkpoint writes the rows since the one before; only the last two states are kept."""
    first = stopped(43_200 - 900, checkpoint_s=EAGER)
    folder = first.path / "checkpoint"
    assert len(states(first.path)) == chain_file.KEPT
    from twin import checkpoint_file

    rows = 0
    for path in folder.glob("rows-*"):
        content, arrays = checkpoint_file.read(path)
        rows += sum(len(arrays[next(iter(columns.values()))[0]]) for columns in content["tables"].values())
    known, _ = checkpoint_file.read(max(folder.glob("state-*")))
    assert rows == sum(known["rows"].values()) > 100
    assert known["number"] >= 47
    assert first.manifest["checkpoints"]["written"] == known["number"]


def test_the_command_says_how_to_go_on(
    whole: RunResult, place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def at(moment_s: float) -> None:
        def send(_: Progress, moment: Moment) -> None:
            if moment.now_s == moment_s:
                signal.raise_signal(signal.SIGTERM)

        monkeypatch.setattr(Progress, "__call__", send)

    monkeypatch.setattr("runs.views.after_run", lambda path: [])
    (place / "toy day.toml").write_text(TOY.to_toml(), "utf-8")
    said = ["run", "toy day.toml", "--out", "r", "--checkpoint", "10m"]
    at(9_000)
    assert main(said) == 143
    out, err = capfd.readouterr()
    assert out == "r\n" or out == f"{place / 'r'}\n"
    assert "stopped at 9,000 s of 43,200 s" in err
    assert err.splitlines()[-1] == "go on with: twin run 'toy day.toml' --out r --checkpoint 10m --resume"
    at(18_000)
    assert main([*said, "--resume"]) == 143
    out, err = capfd.readouterr()
    assert "going on from 9,000 s of 43,200 s" in err
    assert err.splitlines()[-1].count("--resume") == 1
    at(-1)
    assert main([*said, "--resume"]) == 0
    assert same(RunResult(place / "r"), whole)
    capfd.readouterr()
    assert main([*said, "--resume"]) == 0
    out, err = capfd.readouterr()
    assert err == "this run has finished already; leave out --resume to run it again\n"
    assert out.strip().endswith("r")
    assert main([*said[:-1], "soon"]) == 2
    assert "--checkpoint: 'soon' is no time; valid: 60s, 10m, 1h, off" in capfd.readouterr().err


def test_a_refused_checkpoint_is_exit_2_and_one_line(capfd: pytest.CaptureFixture[str], place: Path) -> None:
    first = stopped(3_600, out="r")
    state = first.path / "checkpoint" / "state-000001.ckpt"
    state.write_bytes(state.read_bytes()[:-1])
    (place / "toy.toml").write_text(TOY.to_toml(), "utf-8")
    assert main(["run", "toy.toml", "--out", "r", "--resume", "--quiet"]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert "state-000001.ckpt: damaged" in err


class Full:
    """Lets so many bytes be written by `write_atomically`, then the disk is full."""

    def __init__(self, patch: pytest.MonkeyPatch, after: int) -> None:
        self.left = after
        true = os.fsync

        def fsync(handle: int) -> None:
            self.left -= 1
            if self.left < 0:
                raise OSError(28, "No space left on device")
            true(handle)

        patch.setattr("runs.folder.os.fsync", fsync)


def test_a_full_disk_ends_the_run_and_leaves_the_last_checkpoint(whole: RunResult) -> None:
    with pytest.MonkeyPatch.context() as patch:
        Full(patch, 30)
        with pytest.raises(DiskError, match=r"No space left on device\); free some space; the run goes on .* --resume"):
            run(TOY, checkpoint_s=EAGER)
    result = run(TOY, resume=True)
    assert result.manifest["resumed_s"][0] > 0
    assert same(result, whole)


def test_read_only_and_vanished_folders(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = place / "gone" / ".run.part"
    vanish = lambda m: shutil.rmtree(place / "gone") if m.now_s == 3_600 else None
    with pytest.raises(DiskError, match="cannot be written"):
        run(TOY, out=place / "gone" / "run", checkpoint_s=EAGER, progress=vanish)
    assert not part.exists()

    def refused(*_: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "replace", refused)
    with pytest.raises(DiskError, match="Read-only file system"):
        run(TOY, out=place / "read" / "run")


def test_a_result_of_the_past_is_kept_until_the_resumed_run_is_done(whole: RunResult, place: Path) -> None:
    """A finished older result, a stopped rerun beside it, and its end in the right place."""
    done = run(TOY)
    part = stopped(7_200)
    assert part.path.name == f"{TOY.folder_name}.stopped"
    assert RunResult(done.path).verify() == []
    assert run(TOY, resume=True).manifest["ended_utc"] == done.manifest["ended_utc"]  # finished: nothing to do
    with ResultsFolder(done.path, {}) as folder:
        assert folder.resumable


def test_crash_points(town: CityMap, tmp_path: Path) -> None:
    """A sample of the points that `python -m tests.crash_points` tries."""
    found = try_points(town, tmp_path, every=12)
    assert found.tried >= 10
    assert found.wrong == []
    assert found.resumed == found.tried
