"""The command `twin`. Only typer is imported here; each command imports what it needs when it runs."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runs.options import AsJson, Cars, Checkpoint, MapSource, Quiet, Resume, ScenarioName, Seed, Sets, Until, Verbose
from runs.page_commands import report_command, ui_command
from runs.powerflow_command import HELP as POWERFLOW
from runs.powerflow_command import powerflow_command
from runs.replay_command import REPLAY_HELP, replay_command
from runs.sensitivity_command import HELP, sensitivity_command
from runs.sweeping.command import SWEEP_HELP, sweep_command

if TYPE_CHECKING:
    from runs.results import RunResult
    from runs.scenario import Scenario

DONE, BUG, BAD_INPUT, DEGRADED, RESOURCES = 0, 1, 2, 3, 4
ROOMS = ("maps", "twin", "runs", "viz")
app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="Agent-based digital twin of an electrified, connected car fleet on real streets.\n\n"
    "Exit codes: 0 done, 1 a fault of the program, 2 bad input, 3 a ledger is open or the run is degraded, "
    "4 disk or memory, 130/143 stopped.\n\nExample: twin run kyoto --cars 5000",
)


@app.command(
    "map", help="Build a map from OpenStreetMap data and print its quality.\n\nExample: twin map city.osm.pbf --show"
)
def map_command(
    source: Annotated[str, typer.Argument(help="Recipe, place name in quotes, or file.")],
    out: Annotated[Path | None, typer.Option("--out", help="Map file to write; default <name>.map.npz here.")] = None,
    show: Annotated[bool, typer.Option("--show", help="Draw it as PNG beside the map file.")] = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> int:
    """Build and save a map."""
    from maps.build import build_map
    from runs.folder import disk_errors
    from runs.views import draw_map
    from runs.words import map_lines

    _talk(verbose=verbose)
    if out is not None and out.is_dir():
        raise _BadInput(f"{out}: is a folder; give --out a file name, such as {out / 'city.map.npz'}")
    if out is not None and not out.name.endswith(".npz"):
        raise _BadInput(f"{out}: a map file's name ends in .npz")
    if out is not None:
        _writable(out)
    city = build_map(source, progress=None if quiet else _say)
    target = out or Path(f"{_file_name(str(city.meta.get('name') or source))}.map.npz")
    with disk_errors(target):
        city.save(target)
    picture = draw_map(city, target.with_suffix(".png")) if show else None
    if as_json:
        drawn = {"picture": str(picture)} if picture else {}
        _json(
            {"path": str(target), "meta": {k: v for k, v in city.meta.items() if not k.startswith("charger_")}, **drawn}
        )
        return DONE
    _print(() if quiet else map_lines(city))
    if picture:
        print(picture)
    print(target)
    return DONE


@app.command(
    "run", help="Simulate a scenario and write its results folder.\n\nExample: twin run kyoto --cars 5000 --until 24h"
)
def run_command(
    context: typer.Context,
    scenario: ScenarioName = "demo",
    map_source: MapSource = None,
    cars: Cars = None,
    until: Until = None,
    seed: Seed = None,
    sets: Sets = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Results folder; default results/<name>-<hash>-s<seed>.")
    ] = None,
    resume: Resume = False,
    checkpoint: Checkpoint = "60s",
    as_json: AsJson = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> int:
    """Simulate one scenario."""
    from runs.going_on import going_on, wall_seconds
    from runs.progress import Progress
    from runs.single import RunStopped, finished, run, target_of
    from runs.views import NoView, after_run
    from runs.words import run_lines

    _talk(verbose=verbose)
    every_s = wall_seconds(checkpoint)
    chosen = _scenario(scenario, map_source, cars, until, seed, sets)
    if resume and (done := finished(chosen, target_of(chosen, out))) is not None:
        _say("this run has finished already; leave out --resume to run it again")
        if as_json:
            _json({"path": str(done.path), "status": done.status, "pictures": [], **_all(done)})
        else:
            print(done.path)
        return _code_of(done)
    try:
        result = run(chosen, out=out, progress=False if quiet else Progress(), resume=resume, checkpoint_s=every_s)
    except RunStopped as stop:
        if stop.result is not None:
            reached = stop.result.manifest["simulated_s"]
            _say(f"stopped at {reached:,.0f} s of {chosen.until_s:,} s; tables so far are in {stop.result.path}")
        elif not stop.resumable:
            _say("stopped before anything was written")
        if stop.resumable:
            _say(f"go on with: {going_on(context.obj or [])}")
        if stop.result is not None:
            print(stop.result.path)
        return 128 + stop.signal
    drawn, fault = [], None
    if not quiet:
        _say("drawing")
    try:
        drawn = after_run(result.path)
    except NoView as error:
        _say(str(error))
    except Exception as error:
        fault = error
    if as_json:
        _json({"path": str(result.path), "status": result.status, "pictures": [str(p) for p in drawn], **_all(result)})
    else:
        _print(() if quiet else (*run_lines(result), *map(str, drawn)))
        print(result.path)
    if fault is not None:
        what = f"{type(fault).__name__}: {_line(fault)}"
        _say(f"twin: the run is complete, its pictures are not: {what}; log: {_keep(fault)}")
        return RESOURCES if isinstance(fault, OSError | MemoryError) else BUG
    return _code_of(result)


@app.command("show", help="Summary and timings of a run.\n\nExample: twin show results/demo-1a2b3c4d-s1")
def show_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A results folder.")],
    as_json: AsJson = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> int:
    """Print what a run found, and check its files against the manifest."""
    from runs.results import ResultsError, RunResult
    from runs.words import run_lines, table

    _talk(verbose=verbose)
    result = RunResult(folder)
    wrong = result.verify()
    if wrong:
        raise ResultsError(
            f"{folder}: files differ from the manifest, so they are damaged or edited: {', '.join(wrong)}"
        )
    if as_json:
        _json({"path": str(folder), "status": result.status, **_all(result)})
        return DONE
    if not quiet:
        files = result.manifest["files"].items()
        _print(run_lines(result))
        _print(["", *table((name, f"{about['rows']:,} rows") for name, about in files if "rows" in about)])
    print(folder)
    return DONE


@app.command("plan", help="What a run would do, and what it would take.\n\nExample: twin plan porto --cars 20000")
def plan_command(
    scenario: ScenarioName = "demo",
    map_source: MapSource = None,
    cars: Cars = None,
    until: Until = None,
    seed: Seed = None,
    sets: Sets = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> int:
    """Build the world, measure a short stretch of it, and say what a run would take."""
    from runs.planning import plan

    _talk(verbose=verbose)
    found = plan(_scenario(scenario, map_source, cars, until, seed, sets), say=None if quiet else _say)
    if as_json:
        _json(found.to_dict())
        return DONE
    _print(() if quiet else found.lines())
    print(found.path)
    return DONE


@app.command(
    "fleet",
    help="Cars sold and on the road, by model, kind, ProPILOT level and connectivity: as planned or as it was.\n\n"
    "Example: twin fleet --case plan --market japan",
)
def fleet_command(
    case: Annotated[
        str, typer.Option("--case", help="actual, plan, plan-within, or a TOML file like twin/facts/plan.toml.")
    ] = "actual",
    market: Annotated[
        str | None, typer.Option("--market", help="japan, europe, us, canada_mexico, china, other; all when left out.")
    ] = None,
    year: Annotated[int, typer.Option("--year", help="Cars on the road at the end of this year.")] = 2022,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the tables; default results/fleet-<case>-<market>-<year>.")
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> int:
    """Print and plot the fleet of a case."""
    from runs import fleet
    from runs.folder import disk_errors
    from runs.views import NoView, draw_fleet

    _talk(verbose=verbose)
    report = fleet.fleet_report(case, year=year, market=market)
    target = out or Path("results") / f"fleet-{_file_name(report.case)}-{market or 'world'}-{year}"
    folder = fleet.write(report, target)
    try:
        with disk_errors(folder):
            draw_fleet(report, folder / "fleet.png")
    except NoView as error:
        _say(str(error))
    if as_json:
        _json({"path": str(folder), **fleet.as_dict(report)})
        return DONE
    _print(() if quiet else fleet.lines(report))
    print(folder)
    return DONE


@app.command(
    "estimate",
    help="Grid load, autonomy share and cloud traffic of the fleet, with intervals, from a designed set of runs "
    "(or from the folders given).\n\nExample: twin estimate --case plan --quick",
)
def estimate_command(
    folders: Annotated[
        list[Path] | None, typer.Argument(metavar="[DIR]...", help="Results folders to scale instead of the design.")
    ] = None,
    case: Annotated[
        str, typer.Option("--case", help="actual, plan, plan-within, or a TOML file like twin/facts/plan.toml.")
    ] = "actual",
    year: Annotated[int, typer.Option("--year", help="The fleet on the road at the end of this year.")] = 2022,
    quick: Annotated[bool, typer.Option("--quick", help="The small design: minutes, wider intervals.")] = False,
    cars: Cars = None,
    workers: Annotated[int, typer.Option("--workers", min=1, max=256, help="Processes; one core each.")] = 2,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of runs and answers; default results/estimate[-quick].")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be run; run nothing.")] = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> int:
    """Estimate a fleet; the same command goes on where it was stopped."""
    from runs.estimation import report
    from runs.folder import disk_errors
    from runs.sweeping.local import Stopped
    from runs.views import NoView, draw_estimate

    _talk(verbose=verbose)
    place = out or Path("results") / ("estimate-quick" if quick else "estimate")
    if dry_run and not folders:
        _print(report.to_do(quick=quick, cars=cars, out=place))
        return DONE
    try:
        found = report.estimate(
            *(folders or ()),
            case=case,
            year=year,
            quick=quick,
            out=place,
            workers=workers,
            cars=cars,
            say=(lambda _text: None) if quiet else _say,
        )
    except Stopped as stop:
        _say(f"twin: {stop}")
        return 128 + stop.signal
    folder = report.write(found, place / f"{_file_name(found.now.case)}-{year}")
    try:
        with disk_errors(folder):
            draw_estimate(found, folder)
    except NoView as error:
        _say(str(error))
    if as_json:
        _json({"path": str(folder), **report.as_dict(found)})
        return DONE
    _print(() if quiet else report.lines(found))
    print(folder)
    return DONE


@app.command(
    "compare",
    help="Paired differences of two runs of one fleet, b - a.\n\nExample: twin compare results/base results/timer",
)
def compare_command(
    a: Annotated[Path, typer.Argument(metavar="DIR", help="Results folder of the first run.")],
    b: Annotated[Path, typer.Argument(metavar="DIR", help="Results folder of the second run.")],
    as_json: AsJson = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> int:
    """Compare two results folders."""
    from runs.comparison import compare
    from runs.results import RunResult

    _talk(verbose=verbose)
    found = compare(RunResult(a), RunResult(b))
    if as_json:
        _json({"a": str(a), "b": str(b), **found.to_dict()})
    else:
        _print(
            ()
            if quiet
            else (f"a  {a}", f"b  {b}", "", str(found), "", "intervals: sampling of cars only (paired bootstrap)")
        )
    return DONE


app.command("sensitivity", help=HELP)(sensitivity_command)
app.command("powerflow", help=POWERFLOW)(powerflow_command)
app.command(
    "report",
    help="Write the report page of a run: one HTML file without outside parts.\n\n"
    "Example: twin report results/demo-1a2b3c4d-s1 --out demo.html",
)(report_command)
app.command(
    "ui",
    help="Open the browser page: a scenario live, a results folder by the hour, or two folders side by side.\n\n"
    "Served to this machine only; Ctrl-C ends it.\n\nExample: twin ui kyoto --cars 5000",
)(ui_command)


app.command("replay", help=REPLAY_HELP)(replay_command)
app.command("sweep", help=SWEEP_HELP)(sweep_command)


@app.command(
    "validate",
    help="Check the twin against published and measured figures; exit 1 when one fails.\n\n"
    "Example: twin validate --data ../shared/data",
)
def validate_command(
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Folder of real data; default TWIN_DATA or ../shared/data."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Report to write; default results/validation.json.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--page", metavar="FILE", help="Markdown page whose table of checks is written anew.")
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> int:
    """Hold what the twin computes against the targets of `facts/validation.toml`."""
    from maps.get import data_folder
    from runs import validate as v

    _talk(verbose=verbose)
    target = out or v.REPORT
    if target.is_dir():
        raise _BadInput(f"{target}: is a folder; give --out a file name, such as {target / 'validation.json'}")
    folder = data or data_folder()
    checks = v.validate(folder, say=None if quiet else _say)
    report = v.to_dict(checks, data=folder)
    v.write(report, target)
    if page is not None:
        v.write_page(checks, page)
    if as_json:
        _json({"path": str(target), **report})
    else:
        _print(() if quiet else v.lines(checks))
        print(target)
    return BUG if v.failed(checks) else DONE


@app.command("doctor", help="Versions, processor, caches, data, memory and disk.\n\nExample: twin doctor")
def doctor_command(as_json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False) -> int:
    """Report on the machine and the installation."""
    from runs.doctor import examine

    _talk(verbose=verbose)
    findings = examine()
    if as_json:
        _json({f.what: {"ok": f.ok, "found": f.found} for f in findings})
    else:
        _print(f"{'ok ' if f.ok else 'NO '} {f.what:<16} {f.found}" for f in findings if not (quiet and f.ok))
    return DONE if all(f.ok for f in findings) else BUG


class _BadInput(ValueError):  # noqa: N818 - an argument of a command that no room checks
    pass


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return the exit code. Every error is one line on stderr."""
    with _ends_on_sigterm():
        return _main(arguments)


def _main(arguments: list[str] | None) -> int:
    try:
        said = sys.argv[1:] if arguments is None else arguments
        code = app(arguments, prog_name="twin", standalone_mode=False, obj=said)
        sys.stdout.flush()
        return code if isinstance(code, int) else DONE
    except BrokenPipeError:
        return _no_reader()
    except KeyboardInterrupt as stop:
        _say("twin: stopped")
        return 128 + int(getattr(stop, "signal", signal.SIGINT))
    except BaseException as error:
        return _explain(error)


def _explain(error: BaseException) -> int:
    from runs.folder import DiskError
    from runs.single import RunFailed

    if isinstance(error, SystemExit):
        if isinstance(error.__context__, BrokenPipeError):  # typer ends so when the reader has gone
            return _no_reader()
        return error.code if isinstance(error.code, int) else BUG
    if hasattr(error, "format_message"):  # typer's own: unknown option, missing argument, not a number
        if type(error).__name__ == "NoArgsIsHelpError":
            _say(error.format_message())
            return BAD_INPUT
        path = getattr(getattr(error, "ctx", None), "command_path", "twin")
        _say(f"{path}: {_line(error.format_message()).rstrip('.')}; see {path} --help")
        return BAD_INPUT
    if isinstance(error, DiskError):
        _say(f"twin: {_line(error)}")
        return RESOURCES
    if isinstance(error, MemoryError):
        _say("twin: not enough memory; fewer --cars, a shorter --until or a smaller map need less")
        return RESOURCES
    if _is_bad_input(error):
        _say(f"twin: {_line(error)}")
        return BAD_INPUT
    if isinstance(error, OSError) or isinstance(error.__cause__, OSError):
        _say(f"twin: {_line(error)}")
        return RESOURCES
    log = error.path / "log.jsonl" if isinstance(error, RunFailed) else _keep(error)
    what = _line(error) if isinstance(error, RunFailed) else f"{type(error).__name__}: {_line(error)}"
    _say(f"twin: a fault of this program, please report it: {what}; log: {log}")
    return BUG


def _no_reader() -> int:
    """The reader of our output has gone (`twin show … | head`): nothing to tell anyone."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return DONE


def _is_bad_input(error: BaseException) -> bool:
    """Rooms raise their own ValueErrors for input; a bare ValueError is a fault of ours."""
    own = isinstance(error, ValueError) and type(error).__module__.split(".")[0] in ROOMS
    return own or isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError)


def _scenario(
    name: str, map_source: str | None, cars: int | None, until: str | None, seed: int | None, sets: list[str] | None
) -> Scenario:
    from runs.scenario import Scenario

    chosen = Scenario.load(name)
    if sets:
        chosen = chosen.set(*sets)
    given = {"map": map_source, "fleet.cars": cars, "until": until, "seed": seed}
    flags = {"map": "--map", "fleet.cars": "--cars", "until": "--until", "seed": "--seed"}
    changes = {key: value for key, value in given.items() if value is not None}
    return chosen.changed(changes, flags=flags) if changes else chosen


def _code_of(result: RunResult) -> int:
    return DONE if result.status == "done" else DEGRADED


def _all(result: RunResult) -> dict[str, Any]:
    return {"summary": result.summary, "manifest": result.manifest}


def _talk(*, verbose: bool) -> None:
    """What rooms log goes to the run's log; to stderr as well when asked."""
    shown = logging.StreamHandler(sys.stderr) if verbose else logging.NullHandler()
    logging.basicConfig(level=logging.INFO, handlers=[shown], format="%(levelname)s %(name)s: %(message)s", force=True)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


def _json(content: Mapping[str, Any]) -> None:
    print(json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1, default=str))


def _line(text: object) -> str:
    from runs.scenario_file import one_line

    return one_line(text) or type(text).__name__


def _keep(error: BaseException) -> Path:
    """Write a traceback where the user can find it."""
    handle, name = tempfile.mkstemp(prefix="twin-error-", suffix=".log", text=True)
    with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as file:
        file.write(time.strftime("%Y-%m-%d %H:%M:%S\n"))
        traceback.print_exception(error, file=file)
    return Path(name)


def _writable(path: Path) -> None:
    from runs.folder import DiskError

    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        why = "no such folder" if not path.parent.exists() else "not a folder you may write to"
        raise DiskError(f"{path}: cannot be written ({path.parent}: {why})")


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in name.lower()).strip("-") or "city"


@contextlib.contextmanager
def _ends_on_sigterm() -> Iterator[None]:
    """SIGTERM ends a command like Ctrl-C does; a run takes over both while it simulates."""

    def stop(_signum: int, _frame: object) -> None:
        from runs.single import RunStopped

        raise RunStopped(signal.SIGTERM)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)


if __name__ == "__main__":
    sys.exit(main())
