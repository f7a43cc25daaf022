"""One line that says where a sweep stands: done, running, failed, remaining, time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from runs.progress import duration

TERMINAL_S, PLAIN_S = 2.0, 10.0


class Tally:
    """Counts of a sweep's runs, told now and then.

    Parameters
    ----------
    total : int
    done : int
        Finished before.
    failed : int
        Recorded as failed before.
    say : callable
    """

    def __init__(self, total: int, *, done: int, failed: int, say: Callable[[str], None]) -> None:
        self.total, self.done, self.failed, self.lost = total, done, failed, 0
        self._before = done + failed
        self._say = say
        self._began = self._told = time.monotonic()
        self._every_s = TERMINAL_S if sys.stderr.isatty() else PLAIN_S

    def line(self, running: int) -> str:
        """The line."""
        ended = self.done + self.failed
        left = self.total - ended - running
        here = ended - self._before
        wall = time.monotonic() - self._began
        time_left = f"{duration(wall / here * (self.total - ended))} left" if here else "time left not known yet"
        lost = f", {self.lost} lost and tried again" if self.lost else ""
        return f"{self.done} done, {running} running, {self.failed} failed, {left} remaining, {time_left}{lost}"

    def beat(self, running: int) -> None:
        """Tell, when the last line is old enough."""
        if time.monotonic() - self._told >= self._every_s:
            self._told = time.monotonic()
            self._say(self.line(running))
