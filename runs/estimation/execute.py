"""Runs of a design, each in a process that lives for a few; finished ones are kept, so the same command goes on."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

from runs.estimation.design import PlannedRun, target_of
from runs.results import ResultsError, RunResult

RUNS_PER_PROCESS = 8
"""A process is renewed after so many runs: Mesa keeps models that were dropped."""


class ExecutionError(RuntimeError):
    """Runs of a design failed; one line with how many, and the first reason."""


def finished(out: Path, planned: PlannedRun) -> bool:
    """Whether a run is done already, of these facts and this version of the program."""
    from runs.machine import facts_sha256, versions

    try:
        result = RunResult.open(target_of(out, planned))
    except (ResultsError, OSError):
        return False
    same = result.manifest.get("versions") == versions() and result.manifest["inputs"]["facts"] == facts_sha256()
    return same and result.status in ("done", "degraded")


def execute(
    runs: Sequence[PlannedRun], out: Path, *, workers: int, say: Callable[[str], None] = lambda _text: None
) -> int:
    """Run what is not finished; return how many were run.

    Raises
    ------
    ExecutionError
        When runs failed; what finished stays.
    """
    by_key = {planned.key: planned for planned in runs}
    todo = [planned for planned in by_key.values() if not finished(out, planned)]
    say(f"{len(by_key)} runs, {len(by_key) - len(todo)} done before")
    if not todo:
        return 0
    (out / "runs").mkdir(parents=True, exist_ok=True)
    faults: list[str] = []
    # one thread a run: the processes are the parallelism
    os.environ.setdefault("NUMBA_NUM_THREADS", "1")
    with ProcessPoolExecutor(workers, get_context("spawn"), max_tasks_per_child=RUNS_PER_PROCESS) as pool:
        waiting = {pool.submit(_one, planned.scenario.to_toml(), target_of(out, planned)): planned for planned in todo}
        for count, future in enumerate(as_completed(waiting), 1):
            planned = waiting[future]
            try:
                future.result()
            except BrokenProcessPool:
                raise ExecutionError(
                    f"a worker process was killed (out of memory?) after {count - 1} of {len(todo)} runs; "
                    "the same command goes on, --workers 1 takes less memory"
                ) from None
            except Exception as error:  # noqa: BLE001 - told below, with all others
                faults.append(f"{planned.key}: {type(error).__name__}: {error}")
            what = planned.assumption and f", {planned.assumption} {planned.side}"
            say(f"{count}/{len(todo)} {planned.city} {planned.season} {planned.day}{what}")
    if faults:
        raise ExecutionError(f"{len(faults)} of {len(todo)} runs failed, the first: {faults[0]}")
    return len(todo)


def _one(scenario_toml: str, target: Path) -> str:
    """One run in a worker process."""
    import tomllib

    from runs.scenario import Scenario
    from runs.single import run

    result = run(Scenario.check(tomllib.loads(scenario_toml), place=target.name), out=target)
    return result.status
