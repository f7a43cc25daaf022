"""The command `twin`: exit codes, one line for every error, where output goes, and one real run."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from runs import cli
from runs.folder import DiskError
from runs.scenario import Scenario
from runs.views import NoView
from tests.runs_fake import install

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = ("map", "run", "show", "plan", "fleet", "estimate", "compare", "replay", "validate", "doctor")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("runs.views.after_run", lambda folder: [folder / "overview.png"])
    install(monkeypatch)
    return tmp_path


class Said:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err
        self.last = out.splitlines()[-1] if out else ""


@pytest.fixture
def twin(place: Path, capfd: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: str) -> Said:
        capfd.readouterr()
        code = cli.main(list(arguments))
        return Said(code, *capfd.readouterr())

    return call


def test_help_answers_without_importing_anything_heavy() -> None:
    code = (
        "import sys; from runs.cli import main; code = main(['--help']);"
        "heavy = {'numpy', 'mesa', 'pyarrow', 'pydantic', 'rich', 'numba', 'pandas'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in COMMANDS:
        assert f"\n  {command}" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example_and_the_common_options(twin: Any, command: str) -> None:
    said = twin(command, "--help")
    assert (said.code, said.err) == (0, "")
    for text in (f"Example: twin {command}", "--json", "--verbose", "--quiet"):
        assert text in said.out


def test_run_prints_a_summary_and_the_folder_last(twin: Any, place: Path) -> None:
    said = twin("run", "demo", "--cars", "60", "--seed", "4", "--set", "charging.home_kw=5")
    assert said.code == 0
    assert said.last == str(next((place / "results").glob("demo-*-s4")))
    lines = said.out.splitlines()
    assert "autonomy share of km     25.0 % (95 %: 25.0 to 25.0 %, n 60)" in said.out
    assert next(i for i, line in enumerate(lines) if "grid load, peak" in line) == 2  # the answers come first
    assert "ledgers closed, every residual 0: world 3" in said.out
    assert "stuck 0, waiting to enter 0" in said.out
    assert "overview.png" in lines[-2]
    assert "\x1b" not in said.err + said.out
    resolved = (Path(said.last) / "scenario.toml").read_text("utf-8")
    assert "home_kw = 5.0" in resolved


def test_quiet_says_the_path_only(twin: Any) -> None:
    said = twin("run", "demo", "--cars", "9", "--quiet", "--until", "10m")
    assert (said.code, said.err, len(said.out.splitlines())) == (0, "", 1)
    assert Path(said.last).is_dir()


def test_json_is_one_object(twin: Any) -> None:
    run = json.loads(twin("run", "demo", "--cars", "60", "--json").out)
    assert run["summary"]["fleet"]["cars"] == 60
    assert run["status"] == "done"
    shown = json.loads(twin("show", run["path"], "--json").out)
    assert shown["summary"] == run["summary"]
    other = json.loads(twin("run", "demo", "--cars", "60", "--json", "--set", "charging.home_kw=3").out)
    pair = json.loads(twin("compare", run["path"], other["path"], "--json").out)
    assert pair["autonomy_share"]["mean"] == 0
    assert {f["ok"] for f in json.loads(twin("doctor", "--json").out).values()} <= {True, False}


def test_show_repeats_the_summary_and_finds_damage(twin: Any) -> None:
    folder = twin("run", "demo", "--cars", "60", "--quiet").last
    said = twin("show", folder)
    assert said.code == 0
    assert "grid load, peak" in said.out
    assert "cars.parquet             60 rows" in said.out
    with (Path(folder) / "summary.json").open("a", encoding="utf-8") as file:
        file.write(" ")
    said = twin("show", folder)
    assert said.code == 2
    assert "summary.json" in said.err


def test_compare_prints_pairs(twin: Any) -> None:
    a = twin("run", "demo", "--cars", "60", "--quiet").last
    b = twin("run", "demo", "--cars", "60", "--quiet", "--set", "charging.home_kw=3").last
    said = twin("compare", a, b)
    assert said.code == 0
    assert "grid_peak_kw" in said.out
    said = twin("compare", a, twin("run", "demo", "--cars", "30", "--quiet").last)
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "number of cars differ" in said.err


def test_fleet_prints_tables_and_writes_them_with_a_picture(twin: Any, place: Path) -> None:
    said = twin("fleet", "--case", "plan", "--market", "japan", "--year", "2021")
    assert (said.code, said.last) == (0, str(place / "results" / "fleet-plan-japan-2021"))
    assert "on the road at the end of 2021" in said.out
    assert (Path(said.last) / "cohorts.csv").read_text("utf-8").count("\n") > 100
    assert (Path(said.last) / "fleet.png").read_bytes().startswith(b"\x89PNG")
    content = json.loads(twin("fleet", "--json", "--out", str(place / "all")).out)
    assert content["path"] == str(place / "all")
    assert len(content["goals"]) == 6
    for wrong in (("--case", "plam"), ("--market", "mars"), ("--year", "1999")):
        said = twin("fleet", *wrong)
        assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
        assert "valid" in said.err


def test_map_writes_a_map_that_runs_can_use(twin: Any, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.runs_fake import city

    monkeypatch.setattr("maps.build.build_map", lambda source, *, progress=None: city())
    drawn: list[Path] = []
    monkeypatch.setattr("runs.views.draw_map", lambda on, path: (drawn.append(path), path)[1])
    said = twin("map", "anywhere", "--out", str(place / "toy.map.npz"), "--show")
    assert (said.code, said.last) == (0, str(place / "toy.map.npz"))
    assert drawn == [place / "toy.map.png"]
    from maps.network import CityMap

    assert CityMap.load(said.last).network.n_links == city().network.n_links
    assert twin("map", "anywhere", "--out", str(place)).code == 2
    assert twin("map", "anywhere", "--out", str(place / "x.txt")).code == 2
    assert twin("map", "anywhere", "--out", str(place / "no" / "x.npz")).code == 4


BAD = [
    (["run", "demo", "--cars", "0"], "--cars: must be greater than or equal to 1, is 0"),
    (["run", "demo", "--cars", "-5"], "--cars: must be greater than or equal to 1, is -5"),
    (["run", "demo", "--cars", "many"], "--cars"),
    (["run", "demo", "--cars", "1e3"], "--cars"),
    (["run", "demo", "--cars", "9" * 30], "--cars: number too large"),
    (["run", "demo", "--until", "-24h"], "--until: must be a time such as 24h"),
    (["run", "demo", "--until", "nan"], "--until: must be a time"),
    (["run", "demo", "--seed", "-1"], "--seed: must be greater than or equal to 0"),
    (["run", "demo", "--set", "climate.ambient_c=nan"], "climate.ambient_c: must be a finite number, is nan"),
    (["run", "demo", "--set", "climate.ambient_c=-inf"], "climate.ambient_c: must be a finite number"),
    (["run", "demo", "--set", "charging.polcy=timer"], 'did you mean "policy"? (valid: policy, '),
    (["run", "demo", "--set", "nonsense"], "must be key=value"),
    (["run", "kioto"], "did you mean kyoto?"),
    (["run", "no/such/file.toml"], "no/such/file.toml: no scenario of that name and no such file"),
    (["run", "."], "is a folder"),
    (["run", "demo", "--nosuch"], "No such option: --nosuch"),
    (["run", "demo", "extra"], "extra"),
    (["runn"], "No such command"),
    (["show", "nowhere"], "nowhere: no such folder"),
    (["show", "."], "no manifest.json: not a results folder"),
    (["show"], "Missing argument"),
    (["plan", "demo", "--cars", "0"], "--cars: must be"),
    (["compare", "nowhere", "nowhere"], "no such folder"),
    (["map", "no_such.osm.pbf"], "no_such.osm.pbf: no such file"),
    (["run", "demo", "--out", "taken"], "taken: exists and is not a folder"),
    (["run", "demo", "--out", "full"], "full: exists and holds other files than results"),
]


@pytest.mark.parametrize(("arguments", "says"), BAD, ids=[" ".join(a)[:40] for a, _ in BAD])
def test_bad_input_is_one_line_exit_2_and_nothing_written(
    twin: Any, place: Path, arguments: list[str], says: str
) -> None:
    (place / "taken").touch()
    (place / "full").mkdir()
    (place / "full" / "thesis.tex").touch()
    before = sorted(place.rglob("*"))
    said = twin(*arguments)
    assert said.code == 2
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert says in said.err
    assert "Traceback" not in said.err
    assert sorted(place.rglob("*")) == before


def test_a_map_that_is_none(twin: Any, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(place)
    (place / "x.osm").write_text("this is no map", "utf-8")
    (place / "s.toml").write_text('map = "x.osm"', "utf-8")
    for arguments in (
        ["map", "x.osm"],
        ["run", "s.toml"],
        ["run", "demo", "--map", "x.osm"],
        ["plan", "demo", "--map", "x.osm"],
    ):
        said = twin(*arguments)
        assert said.code == 2
        errors = [line for line in said.err.splitlines() if line.startswith("twin: ")]
        assert len(errors) == 1
        assert "x.osm" in errors[0]
        assert "Traceback" not in said.err
        assert not (place / "results").exists()


def test_disk_and_memory_are_exit_4(twin: Any, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "file").touch()
    said = twin("run", "demo", "--out", "file/x", "--quiet")
    assert (said.code, said.err.count("\n")) == (4, 1)
    assert "file/x: cannot be written" in said.err
    for error, says in (
        (MemoryError(), "not enough memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left"),
    ):

        def fail(tick: int, error: BaseException = error) -> None:
            raise error

        install(monkeypatch, lambda world, fail=fail: setattr(world, "at_tick", fail))
        said = twin("run", "demo", "--quiet", "--out", "new")
        assert (said.code, said.err.count("\n")) == (4, 1)
        assert says in said.err
        assert (place / "new").exists() == isinstance(error, OSError)  # the log of the fault; no memory leaves nothing


def test_a_fault_of_ours_is_one_line_and_a_log(twin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(tick: int) -> None:
        raise ValueError("shapes (3,) and (4,)")  # a bare ValueError is no bad input

    install(monkeypatch, lambda world: setattr(world, "at_tick", fail))
    said = twin("run", "demo", "--quiet")
    assert (said.code, said.err.count("\n"), said.out) == (1, 1, "")
    assert "ValueError: shapes (3,) and (4,)" in said.err
    assert "Traceback" in Path(said.err.rpartition("log: ")[2].strip()).read_text("utf-8")

    def broken(self: Scenario, on: object) -> None:
        raise KeyError("catalogue")

    monkeypatch.setattr(Scenario, "build_on", broken)
    said = twin("run", "demo", "--quiet")
    assert (said.code, said.err.count("\n")) == (1, 1)
    assert "KeyError: 'catalogue'" in Path(said.err.rpartition("log: ")[2].strip()).read_text("utf-8")


def test_degraded_runs_are_exit_3(twin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, lambda world: setattr(world, "stuck", 2))
    said = twin("run", "demo")
    assert said.code == 3
    assert said.out.splitlines()[-3] == "degraded: 2 of 100 trips are stuck, more than 1%"
    install(monkeypatch, lambda world: world.residual.update(joules=5))
    said = twin("run", "demo")
    assert said.code == 3
    assert "LEDGERS OPEN: joules +5" in said.out


def test_pictures_that_fail_do_not_take_the_run_with_them(twin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: Path) -> None:
        raise RuntimeError("no fonts")

    monkeypatch.setattr("runs.views.after_run", fail)
    said = twin("run", "demo", "--cars", "9")
    assert said.code == 1
    assert (Path(said.last) / "manifest.json").is_file()
    assert "the run is complete, its pictures are not: RuntimeError: no fonts" in said.err

    def absent(folder: Path) -> None:
        raise NoView("no picture: nothing is registered")

    monkeypatch.setattr("runs.views.after_run", absent)
    said = twin("run", "demo", "--cars", "9")
    assert said.code == 0
    assert "no picture" in said.err


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals(twin: Any, place: Path, monkeypatch: pytest.MonkeyPatch, signum: int, code: int) -> None:
    install(
        monkeypatch,
        lambda world: setattr(world, "at_tick", lambda tick: os.kill(os.getpid(), signum) if tick == 3 else None),
    )
    said = twin("run", "demo", "--cars", "9")
    assert said.code == code
    assert json.loads((Path(said.last) / "manifest.json").read_text("utf-8"))["status"] == "stopped"

    def while_building(self: Scenario, say: object = None) -> None:
        os.kill(os.getpid(), signum)
        time.sleep(5)

    monkeypatch.setattr(Scenario, "city", while_building)
    said = twin("run", "demo", "--cars", "9", "--out", "elsewhere")
    assert (said.code, said.out, (place / "elsewhere").exists()) == (code, "", False)
    assert "Traceback" not in said.err


def test_disk_errors_say_what_to_do() -> None:
    assert str(DiskError("x: cannot be written")) == "x: cannot be written"


def test_reader_that_goes_away() -> None:
    code = "import sys; from runs.cli import main; sys.exit(main(['doctor']))"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_a_real_run_end_to_end(tmp_path: Path) -> None:
    """Twice the real world, by the real command: equal tables, closed ledgers, pictures."""
    digests = []
    for attempt in range(2):
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "runs.cli",
                "run",
                "demo",
                "--cars",
                "80",
                "--until",
                "9h",
                "--out",
                str(tmp_path / str(attempt)),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in {0, 3}, done.stdout + done.stderr  # of so few trips one that is stuck is over 1 %
        folder = Path(done.stdout.splitlines()[-1])
        assert folder == tmp_path / str(attempt)
        manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
        assert manifest["status"] == ("degraded" if done.returncode else "done")
        assert not any(manifest["ledger"].values())
        assert len(manifest["ledger"]) > 10
        digests.append({name: about["digest"] for name, about in manifest["files"].items() if "digest" in about})
    assert digests[0] == digests[1]
    assert {
        "cars.parquet",
        "trips.parquet",
        "sessions.parquet",
        "grid_load.parquet",
        "autonomy.parquet",
        "base_load.parquet",
        "grid_admd.parquet",
        "grid_feeders.parquet",
        "grid_hosting.parquet",
        "grid_peaks.parquet",
        "cloud.parquet",
        "ota.parquet",
        "links.parquet",
        "map.parquet",
        "sites.parquet",
        "cells.parquet",
        "downlink.parquet",
        "ingest.parquet",
        "messages.parquet",
    } == set(digests[0])


@pytest.mark.slow
def test_plan_counts_what_a_run_does(tmp_path: Path) -> None:
    arguments = ["demo", "--cars", "60", "--until", "24h", "--seed", "3", "--json"]
    said = []
    for command in ("plan", "run"):
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "runs.cli",
                command,
                *arguments,
                *(["--out", str(tmp_path / "x")] * (command == "run")),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in {0, 3}, done.stderr
        said.append(json.loads(done.stdout))
    plan, run = said
    assert plan["ticks"] == 1440
    assert plan["phases"] == list(run["manifest"]["phase_s"])
    assert plan["other_trips"] == run["summary"]["traffic"]["other_trips"]
    # the table of trips also holds those planned for after the end
    assert plan["fleet_trips"] <= run["summary"]["fleet"]["trips"] <= plan["fleet_trips"] * 1.1 + 5
    assert plan["cars"]["electric"] == run["summary"]["fleet"]["electric"]
    assert 0.1 < plan["expected_s"] / run["manifest"]["seconds"]["simulate"] < 20


def test_report_is_written_where_asked(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from tests.viz_fixture import write_results

    folder = write_results(tmp_path / "run")
    page = tmp_path / "page.html"
    assert cli.main(["report", str(folder), "--out", str(page)]) == 0
    assert capfd.readouterr().out.splitlines()[-1] == str(page)
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html")
    for arguments, code, words in (
        ([str(folder), "--out", str(tmp_path / "page.txt")], 2, "must end in .html"),
        ([str(folder), "--out", str(tmp_path / "no" / "page.html")], 4, "cannot be written"),
        ([str(tmp_path / "nothing")], 2, "no such folder"),
    ):
        assert cli.main(["report", *arguments]) == code
        said = capfd.readouterr().err.strip()
        assert words in said and "\n" not in said
