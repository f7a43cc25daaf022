"""A whole sweep: what is left of it is run, by whichever executor, and the tables are made from all of it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from runs.folder import DiskError
from runs.results import RunResult
from runs.scenario import seconds
from runs.scenario_file import ScenarioError
from runs.single import RESULTS
from runs.sweeping import adaptive, collect
from runs.sweeping.design import PlannedRun, runs_of
from runs.sweeping.keys import Keys
from runs.sweeping.local import execute
from runs.sweeping.place import Place, require_space, task_of
from runs.sweeping.progress import Tally
from runs.sweeping.records import read_record
from runs.sweeping.sweep_file import Sweep, SweepError
from runs.sweeping.task import Outcome, Task

if TYPE_CHECKING:
    import pyarrow as pa

    from runs.sweeping.cluster import Cluster

EXECUTORS = ("local", "dask", "slurm")
Say = Callable[[str], None]


class Shard(NamedTuple):
    """One of several parts of a sweep, for array jobs: every `of`-th run from `number` on.

    Examples
    --------
    >>> Shard.read("3/64")
    Shard(number=3, of=64)
    """

    number: int
    of: int

    @classmethod
    def read(cls, text: str) -> Shard:
        """From `3/64`.

        Raises
        ------
        SweepError
        """
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise SweepError(f"--shard {text!r}: must be part/parts, the first is 1, such as 3/64")
        return cls(int(match[1]), int(match[2]))


@dataclass(frozen=True)
class SweepResult:
    """A sweep's folder, read.

    Attributes
    ----------
    path : Path
    total, done, degraded, run_here : int
        Planned runs, finished ones, those of them with an open ledger or stuck trips, and those that this call ran.
    failed : dict of str to str
        Key and reason of runs that failed.
    complete : bool
        Every planned run is done or failed.
    why : str
        Why it is not complete.
    """

    path: Path
    total: int
    done: int
    degraded: int
    run_here: int
    failed: dict[str, str] = field(default_factory=dict)
    complete: bool = True
    why: str = ""

    @cached_property
    def sweep(self) -> Sweep:
        """The sweep file."""
        return Place(self.path).sweep()

    def table(self, name: str = "runs") -> pa.Table:
        """One of the tables: runs, effects, indices, series.

        Raises
        ------
        SweepError
            When there is none of that name.
        """
        import pyarrow.parquet as pq

        path = self.path / f"{name}.parquet"
        if not path.is_file():
            there = ", ".join(sorted(p.stem for p in self.path.glob("*.parquet")))
            raise SweepError(f"{self.path}: no table {name!r}; it has {there or 'none yet'}")
        return pq.read_table(path, page_checksum_verification=True)

    def run(self, key: str) -> RunResult:
        """Results folder of one run, as `runs.parquet` names it in `run_key`."""
        return RunResult(Place(self.path).results(key))


def sweep(
    file: Sweep | Path | str,
    *,
    executor: str = "local",
    workers: int | None = None,
    address: str | None = None,
    out: Path | str | None = None,
    shard: Shard | str | None = None,
    again: bool = False,
    cluster: Cluster | None = None,
    say: Say = lambda _text: None,
) -> SweepResult:
    """Run what is left of a sweep and make its tables; the same call goes on after any death.

    Parameters
    ----------
    file : Sweep, Path or str
        A sweep file, or the name of a shipped one.
    executor : str
        local, dask or slurm.
    workers : int, optional
        Runs at a time; by default as many as there are cores, on SLURM as the file says.
    address : str, optional
        Of a Dask scheduler that is there already.
    out : Path or str, optional
        Its folder; by default `results/sweep-<name>-<hash8>`.
    shard : Shard or str, optional
        Only this part, such as "3/64"; whichever part ends last makes the tables.
    again : bool
        Also run again what is recorded as failed.
    cluster : Cluster, optional
        How Dask is reached, instead of `address`.
    say : callable
        Told one line now and then.

    Returns
    -------
    SweepResult

    Raises
    ------
    SweepError
        Bad input; nothing was run.
    DiskError
        No space, or it ran out.
    Stopped
        SIGINT or SIGTERM; the same call goes on.
    WorkersError
        No process, no scheduler or no workers.
    """
    chosen = file if isinstance(file, Sweep) else Sweep.load(file)
    part = Shard.read(shard) if isinstance(shard, str) else shard
    if executor not in EXECUTORS:
        raise SweepError(f"executor {executor!r}; valid: {', '.join(EXECUTORS)}")
    if part is not None and executor != "local":
        raise SweepError("a shard is run by the local executor; leave out --executor")
    if part is not None and chosen.adaptive is not None:
        raise SweepError(f"{chosen.name}: adaptive replication needs all runs at hand; leave out --shard")
    _times(chosen)
    planned = runs_of(chosen)
    if chosen.budget.runs is not None and len(planned) > chosen.budget.runs:
        raise SweepError(f"{chosen.name}: {len(planned):,} runs, budget.runs is {chosen.budget.runs:,}")
    place = Place(Path(out) if out is not None else RESULTS / chosen.folder_name)
    place.check(chosen)
    require_space(place, chosen, len(planned), [])
    keys = Keys(say)
    keyed = dict(zip(keys.all(r.scenario for r in planned), planned, strict=True))
    lock = f"lock-{part.number}-of-{part.of}" if part is not None else "lock"
    with place.lock(lock):
        place.open(chosen)
        run_here = 0
        while True:
            mine = list(keyed)[part.number - 1 :: part.of] if part is not None else list(keyed)
            here, why = _run(
                place, chosen, {k: keyed[k] for k in mine}, executor, workers, address, cluster, again, say
            )
            run_here += here
            more = {} if why or chosen.adaptive is None else adaptive.wanted(chosen, planned, _records(place, keyed))
            if not more:
                break
            planned = runs_of(chosen, replications=more)
            if chosen.budget.runs is not None and len(planned) > chosen.budget.runs:
                why = f"budget.runs ({chosen.budget.runs:,}) allows no further replication"
                say(why)
                break
            keyed = dict(zip(keys.all(r.scenario for r in planned), planned, strict=True))
            say(
                f"{len(more)} points, {len(planned)} runs: the interval of {chosen.adaptive.figure} is still too wide"
                if chosen.adaptive is not None
                else ""
            )
        return _close(place, chosen, keyed, run_here, why, say)


def collected(folder: Path | str) -> SweepResult:
    """A sweep's folder as it is now: its tables made anew from what is done.

    Raises
    ------
    SweepError
    """
    place = Place(Path(folder))
    chosen = place.sweep()
    planned = runs_of(chosen)
    keyed = dict(zip(Keys().all(r.scenario for r in planned), planned, strict=True))
    return _close(place, chosen, keyed, 0, "", lambda _text: None)


def _run(
    place: Place,
    chosen: Sweep,
    keyed: dict[str, PlannedRun],
    executor: str,
    workers: int | None,
    address: str | None,
    cluster: Cluster | None,
    again: bool,
    say: Say,
) -> tuple[int, str]:
    """Run what is left; how many were, and why the rest was not."""
    done = _records(place, keyed)
    failed = {key for key in keyed if key not in done and not again and place.failed(key)}
    todo = [task_of(place, chosen, key, run) for key, run in keyed.items() if key not in done and key not in failed]
    say(f"{len(keyed):,} runs: {len(done):,} done before, {len(failed):,} failed before, {len(todo):,} to do")
    if not todo:
        return 0, ""
    require_space(place, chosen, len(todo), list(done.values()))
    tally = Tally(len(keyed), done=len(done), failed=len(failed), say=say)
    watch = _Watch(place, chosen, tally, say, spent_s=sum(r["seconds"].get("total", 0.0) for r in done.values()))
    options: dict[str, Any] = {
        "attempts": chosen.run.attempts,
        "timeout_s": float(seconds(chosen.run.timeout)) if chosen.run.timeout else float("inf"),
        "tell": watch.tell,
        "beat": tally.beat,
        "enough": watch.enough,
    }
    if executor == "local":
        execute(todo, workers=workers or _cores(chosen), **options)
    else:
        from runs.sweeping.cluster import dispatch, reach

        with reach(chosen, executor, workers=workers, address=address, cluster=cluster, say=say) as reached:
            dispatch(todo, reached, say=say, **options)
    say(tally.line(0))
    if watch.disk:
        raise DiskError(f"{place.path}: {watch.disk}; free some space, the same command goes on")
    return watch.ran, watch.why


class _Watch:
    """What a driver does when a run has ended."""

    def __init__(self, place: Place, chosen: Sweep, tally: Tally, say: Say, *, spent_s: float) -> None:
        self.place, self.chosen, self.tally, self.say = place, chosen, tally, say
        self.spent_s, self.ran, self.disk, self.why = spent_s, 0, "", ""

    def tell(self, task: Task, outcome: Outcome, attempt: int) -> None:
        if outcome.state == "done":
            self.ran += 1
            self.tally.done += 1
            record = read_record(Path(task.record), task.key)
            self.spent_s += record["seconds"].get("total", 0.0) if record is not None else 0.0
        elif outcome.state == "failed":
            self.tally.failed += 1
            self.place.fail(task.key, outcome.reason)
            self.say(f"failed: point {task.about['point']} replication {task.about['replication']}: {outcome.reason}")
        elif outcome.state == "no disk":
            self.disk = outcome.reason
        elif outcome.state == "lost":
            self.tally.lost += 1
            self.say(f"lost: run {task.key} ({outcome.reason}), attempt {attempt} of {self.chosen.run.attempts}")

    def enough(self) -> bool:
        most = self.chosen.budget.hours
        if most is not None and self.spent_s >= most * 3600 and not self.why:
            self.why = f"the budget of {most:g} hours is spent"
            self.say(self.why)
        return bool(self.disk or self.why)


def _close(place: Place, chosen: Sweep, keyed: dict[str, PlannedRun], run_here: int, why: str, say: Say) -> SweepResult:
    done = _records(place, keyed)
    failed = {key: reason for key in keyed if key not in done and (reason := place.failed(key))}
    left = len(keyed) - len(done) - len(failed)
    if left == 0 or why:
        began = time.perf_counter()
        collect.write_tables(place, chosen, keyed, done, failed)
        say(f"tables over {len(done):,} runs in {time.perf_counter() - began:.1f} s")
    if left and not why:
        why = f"{left:,} runs belong to other parts and are not done yet"
    degraded = sum(r["status"] != "done" for r in done.values())
    return SweepResult(place.path, len(keyed), len(done), degraded, run_here, failed, left == 0, why)


def _records(place: Place, keyed: dict[str, PlannedRun]) -> dict[str, dict[str, Any]]:
    found = ((key, read_record(place.record(key), key)) for key in keyed)
    return {key: record for key, record in found if record is not None}


def _cores(chosen: Sweep) -> int:
    import os

    return max(1, len(os.sched_getaffinity(0)) // chosen.run.threads)


def _times(chosen: Sweep) -> None:
    for name in ("timeout", "checkpoint"):
        text = getattr(chosen.run, name)
        try:
            seconds(text or "1s")
        except (ValueError, ScenarioError):
            raise SweepError(f"{chosen.name}: run.{name}: {text!r} is no time; valid: 60s, 10m, 2h") from None
