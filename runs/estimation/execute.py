"""Runs of a design, each in a process of its own; finished ones are kept, so the same command goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from runs.estimation.design import PlannedRun, target_of
from runs.results import ResultsError, RunResult
from runs.sweeping import local as processes
from runs.sweeping.task import Outcome, Task

ATTEMPTS = 5
"""How often a run's process may be killed before it counts as failed."""


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
    Stopped
        SIGINT or SIGTERM; runs at work have saved checkpoints, the same command goes on.
    """
    by_key = {planned.key: planned for planned in runs}
    todo = [planned for planned in by_key.values() if not finished(out, planned)]
    say(f"{len(by_key)} runs, {len(by_key) - len(todo)} done before")
    if not todo:
        return 0
    tasks = [
        Task(
            key=planned.key,
            scenario=planned.scenario.to_toml(),
            target=str(target_of(out, planned).absolute()),
            why=str((out / "failures" / f"{planned.key}.json").absolute()),
            replace=True,
        )
        for planned in todo
    ]
    faults: list[str] = []
    ended = [0]

    def tell(task: Task, outcome: Outcome, attempt: int) -> None:
        if outcome.state in ("lost", "stopped"):
            say(f"lost: {task.key} ({outcome.reason}), attempt {attempt}")
            return
        ended[0] += 1
        if outcome.state != "done":
            faults.append(f"{task.key}: {outcome.reason}")
        planned = by_key[task.key]
        what = planned.assumption and f", {planned.assumption} {planned.side}"
        say(f"{ended[0]}/{len(todo)} {planned.city} {planned.season} {planned.day}{what}")

    processes.execute(tasks, workers=workers, attempts=ATTEMPTS, tell=tell)
    if faults:
        raise ExecutionError(f"{len(faults)} of {len(todo)} runs failed, the first: {faults[0]}")
    return len(todo)
