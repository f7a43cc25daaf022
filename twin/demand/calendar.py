"""Days of a run: midnights on the scenario's clock, weekday or weekend."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from twin.demand.market import WEEKDAY, WEEKEND

DAY_MS = 86_400_000


@dataclass(frozen=True)
class Calendar:
    """Where the scenario lies in civil time.

    The date decides between weekday and weekend habits. Without a date (`start=None`) every day is of the
    kind `weekday` says, and the scenario starts at midnight. Local clock changes are not followed.

    Examples
    --------
    >>> noon = Calendar(datetime(2022, 10, 14, 12), weekday=True)
    >>> noon.midnight_ms(1) // 3_600_000, noon.day_of(0), noon.kind(0), noon.kind(1)
    (12, 0, 0, 1)
    """

    start: datetime | None
    weekday: bool

    @property
    def into_day_ms(self) -> int:
        """Time of day at which the scenario starts, ms."""
        if self.start is None:
            return 0
        clock = self.start.time()
        return ((clock.hour * 60 + clock.minute) * 60 + clock.second) * 1000 + clock.microsecond // 1000

    def midnight_ms(self, day: int) -> int:
        """Time of the midnight that begins a day, ms since the start; day 0 is the date of the start."""
        return day * DAY_MS - self.into_day_ms

    def day_of(self, t_ms: int) -> int:
        """Day in which a moment lies."""
        return (t_ms + self.into_day_ms) // DAY_MS

    def kind(self, day: int) -> int:
        """WEEKDAY or WEEKEND."""
        if self.start is None:
            return WEEKDAY if self.weekday else WEEKEND
        return WEEKEND if (self.start.date() + timedelta(days=day)).weekday() >= 5 else WEEKDAY

    def number(self, day: int) -> int:
        """Number of a date that draws are keyed by: a date keeps its luck whenever the scenario starts."""
        return (self.start.toordinal() if self.start else 1) + day
