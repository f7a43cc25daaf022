"""Runs on this machine, one process each: whatever kills a process costs one attempt of one run."""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from runs.sweeping.launcher import Launcher
from runs.sweeping.task import Outcome, Task

ATTEMPTS = 10
"""How often a run may be lost (killed, out of memory) before it counts as failed."""

Tell = Callable[[Task, Outcome, int], None]
"""Told when a run has ended for good, or was lost: task, outcome, attempts so far."""


class Stopped(KeyboardInterrupt):
    """A signal ended a sweep; the same command goes on."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}; the same command goes on")
        self.signal = signum


def execute(
    tasks: Sequence[Task],
    *,
    workers: int,
    attempts: int = ATTEMPTS,
    timeout_s: float = float("inf"),
    tell: Tell = lambda _task, _outcome, _attempt: None,
    beat: Callable[[int], None] = lambda _running: None,
    enough: Callable[[], bool] = lambda: False,
) -> dict[str, Outcome]:
    """Do runs, `workers` at a time.

    Parameters
    ----------
    tasks : sequence of Task
        No two of one key.
    workers : int
    attempts : int
        A run whose process was lost is tried again, up to so many attempts in all. A run that fails by itself is not.
    timeout_s : float
        A run that takes longer is killed, which counts as lost.
    tell : callable
    beat : callable
        Called at least once a second with the number of runs at work.
    enough : callable
        When true, no further run is started.

    Returns
    -------
    dict of str to Outcome
        By key; runs that were not started are missing.

    Raises
    ------
    Stopped
        SIGINT or SIGTERM; runs at work have saved a checkpoint.
    WorkersError
        When no process can be started.
    """
    todo = deque(tasks)
    by_key = {task.key: task for task in tasks}
    if len(by_key) != len(tasks):
        raise ValueError("two tasks of one key")
    lost = dict.fromkeys(by_key, 0)
    began: dict[str, float] = {}
    outcomes: dict[str, Outcome] = {}
    launcher = Launcher()
    with stop_signals() as caught:
        try:
            while todo or launcher.running:
                if caught:
                    break
                while todo and len(launcher.running) < workers and not enough():
                    task = todo.popleft()
                    began[task.key] = time.monotonic()
                    launcher.start(task)
                if not launcher.running:
                    break
                beat(len(launcher.running))
                for key, code in launcher.ended(0.5):
                    task, outcome = by_key[key], Outcome.of(code, Path(by_key[key].why))
                    attempt = lost[key] + 1
                    if outcome.state in ("lost", "stopped") and not caught:
                        lost[key] = attempt
                        if lost[key] < attempts:
                            tell(task, outcome, attempt)
                            todo.append(task)
                            continue
                        outcome = Outcome("failed", f"lost {lost[key]} times, the last: {outcome.reason}")
                    outcomes[key] = outcome
                    tell(task, outcome, attempt)
                for key in launcher.running:
                    if time.monotonic() - began[key] > timeout_s:
                        began[key] = float("inf")
                        launcher.signal(signal.SIGKILL, key)
        finally:
            launcher.close()
        if caught:
            raise Stopped(caught[0])
    return outcomes


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Signals that arrived; the second one ends at once."""
    caught: list[int] = []

    def note(signum: int, _frame: FrameType | None) -> None:
        caught.append(signum)
        if len(caught) > 1:
            raise Stopped(signum)

    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    old = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for signum, handler in old.items():
            signal.signal(signum, handler)
