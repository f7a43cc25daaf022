"""One run, from a scenario to a results folder."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from runs.folder import KEEP_STATUS, DiskError, ResultsFolder, disk_errors, file_sha256
from runs.progress import Moment, Progress, Report
from runs.results import ResultsError, RunResult, is_ours

if TYPE_CHECKING:
    import pyarrow as pa

    from maps.network import CityMap
    from runs.checkpoints import Chain, Saved
    from runs.scenario import Scenario
    from twin.model import Twin

RESULTS = Path("results")
CHECKPOINT_S = 60.0
"""Wall seconds between two checkpoints: what a kill costs at most."""
MOST_STUCK = 0.01
"""Share of trips that may be stuck before a run counts as degraded."""


class RunStopped(KeyboardInterrupt):
    """A signal ended the run; what was simulated so far is in `result`, None when nothing was.

    Attributes
    ----------
    signal : int
    result : RunResult or None
    resumable : bool
        Whether there is a checkpoint to go on from.
    """

    def __init__(self, signum: int, result: RunResult | None = None) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signal = signum
        self.result = result
        self.resumable = False


class RunFailed(RuntimeError):  # noqa: N818 - reads as what happened, like RunStopped
    """Our bug: the run ended in an exception; `path` is the results folder with the log."""

    def __init__(self, error: BaseException, path: Path) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.path = path


def run(
    scenario: Scenario,
    *,
    out: Path | str | None = None,
    progress: bool | Report = False,
    cancel: threading.Event | None = None,
    resume: bool = False,
    checkpoint_s: float | None = CHECKPOINT_S,
    city: CityMap | None = None,
) -> RunResult:
    """Simulate a scenario and write its results folder.

    Between two ticks the whole state is saved now and then, and whenever the run is stopped. With `resume` a run that
    was stopped or killed goes on from there, and its results are the same, row by row, as if nothing had happened.

    Parameters
    ----------
    scenario : Scenario
    out : Path or str, optional
        The results folder; by default `results/<name>-<hash8>-s<seed>`. Results of ours
        are replaced when the new run has finished, anything else is refused.
    progress : bool or callable
        True shows progress on stderr; a callable is told a `Moment` after each tick.
    cancel : threading.Event, optional
        When set, the run ends after the current tick with status "stopped".
    resume : bool
        Go on from the latest checkpoint of this scenario and seed, from the beginning where there is none; results
        that are complete are returned as they are.
    checkpoint_s : float, optional
        Wall seconds between two checkpoints; None writes none, not even when stopped.
    city : CityMap, optional
        The scenario's map where it is loaded already; read by default.

    Returns
    -------
    RunResult
        Its `status` is done, degraded (a ledger does not close, or over 1 % of trips are
        stuck; the manifest's `why` says which), or stopped.

    Raises
    ------
    ScenarioError, MapError, ResultsError, CheckpointError
        Bad input; nothing was written. A checkpoint that is damaged, or of another scenario, seed, map or program, is
        refused and stays where it is.
    DiskError
        The results cannot be written; older results and checkpoints are as they were.
    RunStopped
        SIGINT or SIGTERM arrived (in the main thread); a `KeyboardInterrupt`. Go on with `resume`.
    RunFailed
        An exception inside the model; the results folder holds the log.
    """
    target = target_of(scenario, out)
    if resume and (done := finished(scenario, target)) is not None:
        return done
    own = progress if isinstance(progress, Progress) else Progress() if progress is True else None
    report: Report | None = own if own is not None else progress if callable(progress) else None
    say = own.say if own is not None else None
    opening = _opening(scenario)
    folder = ResultsFolder(target, opening, resume=resume)
    with _resumable(folder), folder, own or nullcontext(), _signals() as stop:
        begin = time.perf_counter()
        saved = _checkpoint(scenario, folder, resume=resume, say=say)
        folder.write_text("scenario.toml", scenario.to_toml())
        city = scenario.city(say=say) if city is None else city
        if say is not None:
            say(f"building {scenario.fleet.cars:,} cars on {city.network.n_links:,} links")
        if saved is None:
            folder.drop_checkpoints()
        twin, chain = _build(scenario, city, folder, saved, checkpoint_s=checkpoint_s)
        build_s = time.perf_counter() - begin
        if saved is not None and say is not None:
            say(f"going on from {saved.simulated_s:,.0f} s of {scenario.until_s:,} s")
        return _simulate(scenario, twin, folder, build_s, report, stop, cancel, chain, checkpoint_s or float("inf"))


@contextmanager
def _resumable(folder: ResultsFolder) -> Iterator[None]:
    try:
        yield
    except RunStopped as stop:
        stop.resumable = folder.resumable
        raise


def target_of(scenario: Scenario, out: Path | str | None = None) -> Path:
    """Where the results of a scenario go."""
    return Path(out) if out is not None else RESULTS / scenario.folder_name


def finished(scenario: Scenario, target: Path) -> RunResult | None:
    """The complete results of this very scenario and seed in a folder; None where there are none.

    Raises
    ------
    ResultsError
        When the folder holds complete results of another run.
    """
    if not target.is_dir() or not is_ours(target):
        return None
    try:
        result = RunResult(target)
    except ResultsError:
        return None
    if result.status not in KEEP_STATUS:
        return None
    said = result.manifest
    made = (said.get("inputs", {}).get("scenario"), said.get("seed"))
    if made != (scenario.sha256, scenario.seed):
        raise ResultsError(
            f"{target}: holds the finished run {said.get('scenario')}-{said.get('hash')}-s{said.get('seed')}, not "
            f"{scenario.folder_name}; choose another --out, or leave out --resume to replace it"
        )
    return result


def _checkpoint(
    scenario: Scenario, folder: ResultsFolder, *, resume: bool, say: Callable[[str], None] | None
) -> Saved | None:
    """The checkpoint to go on from, moved to where this run writes."""
    tell = say or (lambda _text: None)
    if not resume:
        if folder.resumable:
            tell("starting over; --resume would go on from the checkpoint of an unfinished run")
        return None
    from runs.checkpoints import find, identity_of, take_over

    with disk_errors(folder.target):
        saved = find(folder.chains, identity_of(scenario))
    if saved is None:
        tell("no checkpoint to go on from: starting at 0 s")
        return None
    for note in saved.notes:
        tell(note)
    folder.bring_log(saved.path.parent.parent)
    return take_over(saved, folder.checkpoints)


def _build(
    scenario: Scenario, city: CityMap, folder: ResultsFolder, saved: Saved | None, *, checkpoint_s: float | None
) -> tuple[Twin, Chain | None]:
    """The twin, as built or as it was saved, and what will save it."""
    twin = scenario.build_on(city)
    if checkpoint_s is None and saved is None:
        return twin, None
    from runs.checkpoints import Chain, identity_of, resume
    from twin.checkpoint import fingerprint

    fresh = fingerprint(twin)
    if saved is not None:
        resume(twin, saved)
    return twin, Chain(folder.checkpoints, twin, identity_of(scenario), fresh, after=saved)


class _Stop:
    """What a signal asks for: outside `gently` at once, inside it after the current tick."""

    def __init__(self) -> None:
        self.signal = 0
        self.gently = False

    def __call__(self, signum: int, _frame: FrameType | None) -> None:
        again, self.signal = bool(self.signal), signum
        if again or not self.gently:
            raise RunStopped(signum)


@contextmanager
def _signals() -> Iterator[_Stop]:
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    old = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for signum, handler in old.items():
            signal.signal(signum, handler)


def _simulate(
    scenario: Scenario,
    twin: Twin,
    folder: ResultsFolder,
    build_s: float,
    report: Report | None,
    stop: _Stop,
    cancel: threading.Event | None,
    chain: Chain | None,
    checkpoint_s: float,
) -> RunResult:
    from runs.log import logged_to
    from twin.charging.policies import PolicyError

    known = (DiskError, RunStopped, MemoryError, PolicyError)  # each has its own line and exit code
    world: Any = twin.world
    begin = time.perf_counter()
    closing: dict[str, Any] = {"status": "failed", "seconds": {"build": round(build_s, 3)}}
    try:
        with logged_to(folder.part / "log.jsonl", lambda: world.now_ms / 1000) as log:
            try:
                log.info("run of %s: %s cars, %s s", scenario.folder_name, scenario.fleet.cars, scenario.until_s)
                for note in getattr(getattr(world, "given", None), "notes", ()):
                    log.warning("%s", note)
                if chain is not None and chain.resumed_s:
                    log.info("goes on from the checkpoint at %s s", chain.resumed_s[-1])
                stop.gently, saved_at = True, time.monotonic()
                while not (world.done or stop.signal or (cancel is not None and cancel.is_set())):
                    twin.step()
                    if report is not None:
                        report(
                            Moment(world.now_ms / 1000, scenario.until_s, time.perf_counter() - begin, world.status())
                        )
                    if chain is not None and not world.done and time.monotonic() - saved_at >= checkpoint_s:
                        chain.write()
                        saved_at = time.monotonic()
                if chain is not None and not world.done and checkpoint_s < float("inf"):
                    chain.write()
                world.finish()
                closing["seconds"]["simulate"] = round(time.perf_counter() - begin, 3)
                closing |= _write(scenario, world, folder, log, stopped=not world.done)
            except known:
                raise
            except Exception as error:
                log.exception("the model failed at %s s", world.now_ms / 1000)
                closing["error"] = f"{type(error).__name__}: {error}"
                raise
    except known:
        raise
    except Exception as error:
        raise RunFailed(error, _publish(folder, world, closing, begin).path) from error
    if chain is not None:
        closing["resumed_s"] = chain.resumed_s
        closing["seconds"]["earlier"] = round(chain.earlier_s, 3)
        closing["checkpoints"] = {
            "written": chain.written,
            "seconds": round(chain.seconds, 3),
            "last_mb": round(chain.bytes / 1e6, 3),
        }
    if stop.signal:
        closing["signal"] = stop.signal
    result = _publish(folder, world, closing, begin)
    if stop.signal and result.status == "stopped":
        raise RunStopped(stop.signal, result)
    return result


def _publish(folder: ResultsFolder, world: Any, closing: dict[str, Any], begin: float) -> RunResult:
    from runs.machine import peak_memory_mb

    folder.list_file("log.jsonl")
    closing["simulated_s"] = world.now_ms / 1000
    closing["phase_s"] = {k: round(float(v), 4) for k, v in world.phase_s.items()}
    closing["seconds"]["total"] = round(time.perf_counter() - begin + closing["seconds"]["build"], 3)
    closing["peak_memory_mb"] = peak_memory_mb()
    closing["ended_utc"] = datetime.now(UTC).isoformat(timespec="seconds")
    return RunResult(folder.publish(closing))


def _write(
    scenario: Scenario, world: Any, folder: ResultsFolder, log: logging.Logger, *, stopped: bool
) -> dict[str, Any]:
    """Tables, geometry and summary; returns what the manifest says of them."""
    from runs import geometry
    from runs.columns import to_arrow
    from runs.estimates import estimate_run, sample_of
    from runs.grid import grid_tables

    began = time.perf_counter()
    written: dict[str, pa.Table] = {}
    for table in world.tables():
        written[table.name] = to_arrow(table)
        folder.write_table(table.name, written[table.name])
    for geo in (geometry.streets(world.city), geometry.sites(world.city, world.sites()), geometry.cells(world.city)):
        folder.write_table(geo.schema.metadata[b"table"].decode(), geo)
    summary = dict(world.summary())
    ledger = {name: int(residual) for name, residual in world.ledger().items()}
    if world.now_ms > 0:
        sample = sample_of(
            written["cars"],
            written["sessions"],
            written["grid_load"],
            seed=scenario.seed,
            simulated_s=world.now_ms / 1000,
            interval_s=scenario.grid.interval_min * 60,
        )
        estimates = estimate_run(sample)
        ledger["summary"] = _disagreements(summary, {name: e.mean for name, e in estimates.items()}, log)
        if world.charging is not None:
            more, said = grid_tables(
                world.charging, world.charging.base_load, written["sessions"], written["grid_load"],
                seed=scenario.seed, start=scenario.start, simulated_s=world.now_ms / 1000,
                interval_s=scenario.grid.interval_min * 60, over_share=scenario.grid.over_share,
            )  # fmt: skip
            for table in more:
                folder.write_table(table.name, to_arrow(table))
            summary["grid"] = {**summary["grid"], **said}
        summary["estimates"] = {name: e.to_dict() for name, e in estimates.items()}
    folder.write_json("summary.json", summary)
    status, why = _verdict(summary, ledger, stopped=stopped)
    log.log(logging.INFO if status == "done" else logging.WARNING, "%s%s", status, f": {why}" if why else "")
    meta = world.city.meta
    return {
        "status": status,
        "why": why,
        "ledger": ledger,
        "timezone": str(meta.get("timezone", "")),
        "attribution": str(meta.get("attribution", "")),
        "inputs": {"map": str(meta.get("source_sha256", "")), **_inputs(scenario)},
        "write_s": round(time.perf_counter() - began, 3),
    }


def _verdict(summary: Mapping[str, Any], ledger: Mapping[str, int], *, stopped: bool) -> tuple[str, str]:
    """Status of a run and the reason for it."""
    broken = {name: residual for name, residual in ledger.items() if residual}
    if broken:
        return "degraded", "ledgers do not close: " + ", ".join(
            f"{name} {residual:+,}" for name, residual in broken.items()
        )
    if stopped:
        return "stopped", "ended before its time"
    return _stuck(summary)


def _stuck(summary: Mapping[str, Any]) -> tuple[str, str]:
    fleet = summary["fleet"]
    stuck, due = int(fleet["stuck"]), int(fleet["trips"]) - int(fleet.get("planned", 0))
    if stuck > MOST_STUCK * due:
        return "degraded", f"{stuck:,} of {due:,} trips are stuck, more than {MOST_STUCK:.0%}"
    return "done", ""


_SAME: dict[str, Callable[[Mapping[str, Any]], float]] = {
    "grid_peak_kw": lambda s: s["grid"]["peak_kw"],
    "grid_energy_kwh": lambda s: s["grid"]["energy_kwh"],
    "autonomy_share": lambda s: s["autonomy"]["share"],
    "cloud_generated_bytes": lambda s: s["cloud"]["generated_bytes"],
    "cloud_mb_per_connected_car_day": lambda s: s["cloud"]["mb_per_connected_car_day"],
}


def _disagreements(summary: Mapping[str, Any], means: Mapping[str, float], log: logging.Logger) -> int:
    """How many of the summary's figures differ from the same figure added up from the tables."""
    wrong = 0
    for name, of_summary in _SAME.items():
        said = float(of_summary(summary))
        if abs(said - means[name]) > 1e-6 * max(abs(said), abs(means[name])) + 1e-9:
            log.error("%s is %r in the summary and %r in the tables", name, said, means[name])
            wrong += 1
    return wrong


def _opening(scenario: Scenario) -> dict[str, Any]:
    from runs.machine import cpu_target, versions

    return {
        "scenario": scenario.name,
        "hash": scenario.hash8,
        "seed": scenario.seed,
        "start": scenario.start.isoformat(),
        "until_s": scenario.until_s,
        "began_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "cpu": cpu_target(),
        "inputs": _inputs(scenario),
    }


def _inputs(scenario: Scenario) -> dict[str, str]:
    from runs.machine import facts_sha256

    own = {name: file_sha256(path) for name, path in scenario.files().items() if path.is_file()}
    return {"scenario": scenario.sha256, "facts": facts_sha256(), **own}
