"""Progress of a run on stderr: a bar on a terminal, a plain line every ten seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Self

PLAIN_LINE_S = 10.0
BAR_S = 0.2


class Moment(NamedTuple):
    """Where a run stands: simulated and total seconds, wall seconds so far, cars by what they do."""

    now_s: float
    until_s: float
    wall_s: float
    status: dict[str, int]

    @property
    def share(self) -> float:
        """Part of the simulated time that is done, 0 to 1."""
        return self.now_s / self.until_s

    @property
    def speed_up(self) -> float:
        """Simulated seconds per wall second."""
        return self.now_s / self.wall_s if self.wall_s > 0 else 0.0

    @property
    def left_s(self) -> float:
        """Wall seconds that remain at the speed so far."""
        return self.wall_s * (1 - self.share) / self.share if self.share > 0 else 0.0

    def __str__(self) -> str:
        s = self.status
        # the first ticks compile kernels where no cache holds them: no measure of what is to come
        pace = f"{self.speed_up:,.0f}x  {duration(self.left_s)} left" if self.share >= 0.01 else "getting up to speed"
        return (
            f"{self.share:4.0%}  {clock(self.now_s)} of {clock(self.until_s)}  driving {s.get('driving', 0):,}"
            f"  charging {s.get('charging', 0):,}  queued {s.get('queued', 0):,}  stuck {s.get('stuck', 0):,}"
            f"  {pace}"
        )


Report = Callable[[Moment], None]
"""Told after ticks; must be quick and change nothing."""


class Progress:
    """Shows moments of a run; a context manager that is a `Report`.

    Parameters
    ----------
    bar : bool, optional
        Bar or plain lines; by default a bar where stderr is a terminal.
    """

    def __init__(self, *, bar: bool | None = None) -> None:
        self._bar = sys.stderr.isatty() if bar is None else bar
        self._live: Any = None
        self._last = time.monotonic()

    def __enter__(self) -> Self:
        if self._bar:
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def say(self, text: str) -> None:
        """One line about what is being done now (building the map, writing)."""
        if self._live is not None:
            from rich.text import Text

            self._live.update(Text(text), refresh=True)
        else:
            print(text, file=sys.stderr, flush=True)  # noqa: T201

    def __call__(self, moment: Moment) -> None:
        """Show a moment, when the last one is old enough."""
        now = time.monotonic()
        if now - self._last < (BAR_S if self._live is not None else PLAIN_LINE_S):
            return
        self._last = now
        if self._live is None:
            print(moment, file=sys.stderr, flush=True)  # noqa: T201
            return
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        self._live.update(
            Group(ProgressBar(total=1.0, completed=moment.share, width=60), Text(str(moment))), refresh=True
        )


def clock(seconds: float) -> str:
    """Simulated time as h:mm, with days from the second on.

    Examples
    --------
    >>> clock(3660), clock(90_000)
    ('01:01', '1d 01:00')
    """
    minutes = int(seconds) // 60
    days, minutes = divmod(minutes, 1440) if minutes > 1440 else (0, minutes)
    return f"{f'{days}d ' if days else ''}{minutes // 60:02d}:{minutes % 60:02d}"


def duration(seconds: float) -> str:
    """Wall time for people.

    Examples
    --------
    >>> duration(0.42), duration(75), duration(7300)
    ('0.4 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = int(seconds) // 60
    return f"{minutes} min {int(seconds) % 60} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
