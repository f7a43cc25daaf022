"""What households draw besides their cars: standard profiles by market, or profiles of a file."""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twin import facts
from twin.settings import GridSettings

Floats = NDArray[np.float64]

HOURS_PER_YEAR = 8760
DAY_S = 86_400
SEASONS = ("winter", "transition", "summer")
LARGEST_FILE_B = 200_000_000
YEAR_DAYS = 365
"""A file of at least this many days stands for any year."""


class GridError(ValueError):
    """A feeder, a profile or a network that cannot be; the message is one line for the user."""


@dataclass(frozen=True, eq=False)
class BaseLoad:
    """Mean power of one household, by profile and time of day.

    Attributes
    ----------
    names : list of str
        Profiles; households are dealt one each.
    kw : ndarray of float64, shape (n_days, n_profiles, steps)
        Mean power of each step of a day, kW.
    dates : list of str
        ISO date of each day of a file; empty for the standard, whose days are season times kind of day.
    """

    names: list[str]
    kw: Floats
    dates: list[str]

    def over(self, start: datetime, intervals: int, interval_s: float) -> Floats:
        """Mean power in intervals from `start` on, kW per household, shape (n_profiles, intervals).

        Energy is kept exactly: steps and intervals may have any length.

        Raises
        ------
        GridError
            When a file has no day for a date.
        """
        midnight = start.replace(hour=0, minute=0, second=0, microsecond=0)
        begin = (start - midnight).total_seconds()
        edges = begin + interval_s * np.arange(intervals + 1)
        days = max(1, math.ceil(edges[-1] / DAY_S - 1e-9))
        rows = [self.day(midnight.date() + timedelta(days=k)) for k in range(days)]
        steps = self.kw.shape[2]
        curve = self.kw[rows].transpose(1, 0, 2).reshape(len(self.names), -1)
        energy = np.zeros((len(self.names), days * steps + 1))
        np.cumsum(curve * (DAY_S / steps), axis=1, out=energy[:, 1:])
        at = np.arange(days * steps + 1) * (DAY_S / steps)
        drawn = np.stack([np.interp(edges, at, row) for row in energy])
        return np.asarray(np.diff(drawn, axis=1) / interval_s)

    def day(self, when: date) -> int:
        """Row of `kw` that stands for a date.

        The standard goes by season and kind of day. A file gives the date itself; a file of one day every day, of a
        week the same weekday, of a year the same weekday nearest to the date.

        Raises
        ------
        GridError
        """
        if not self.dates:
            return 3 * SEASONS.index(season(when)) + max(0, when.weekday() - 4)
        known = [date.fromisoformat(text) for text in self.dates]
        first, count = known[0], len(known)
        if 0 <= (when - first).days < count:
            return (when - first).days
        if count == 1:
            return 0
        if count == 7:
            return (when.weekday() - first.weekday()) % 7
        if count >= YEAR_DAYS:
            near = (when.timetuple().tm_yday - first.timetuple().tm_yday) % YEAR_DAYS
            week = (when.weekday() - known[near].weekday() + 3) % 7 - 3
            row = near + week
            return row if 0 <= row < count else row - 7 if row >= count else row + 7
        raise GridError(
            f"base load: {first} to {known[-1]} does not cover {when}; give one day, seven, a year, or the run's days"
        )


def season(when: date) -> str:
    """Season of a household's day (facts grid: residential_load.shape).

    Examples
    --------
    >>> season(date(2022, 10, 12)), season(date(2022, 12, 1)), season(date(2022, 7, 1))
    ('transition', 'winter', 'summer')
    """
    shape = facts.load("grid")["residential_load"]["shape"]
    at = [when.month, when.day]
    if at >= shape["winter_from"] or at < shape["transition_from"]:
        return "winter"
    return "summer" if shape["summer_from"] <= at < shape["autumn_from"] else "transition"


def read_base_load(settings: GridSettings, market: str) -> BaseLoad:
    """Profiles that the settings name.

    Raises
    ------
    GridError
        Naming file, line and what is wrong: gaps, negative or missing power, times that are not whole days.
    """
    given = settings.base_load
    if given == "none":
        return BaseLoad(["none"], np.zeros((9, 1, 24)), [])
    if given == "standard":
        return _standard(market, settings.household_kwh_year)
    found = _read(Path(given), settings.base_columns)
    if settings.household_kwh_year is None:
        return found
    mean = found.kw.mean(axis=(0, 2))
    if not (mean > 0).all():
        raise GridError(f"{given}: profile {found.names[int(np.argmin(mean))]} is 0 throughout and cannot be scaled")
    scaled = found.kw * (settings.household_kwh_year / HOURS_PER_YEAR / mean)[None, :, None]
    return BaseLoad(found.names, scaled, found.dates)


def _standard(market: str, kwh_year: float | None) -> BaseLoad:
    known = facts.load("grid")["residential_load"]
    mean_kw = (kwh_year or known[market]["kwh_per_household_year"]) / HOURS_PER_YEAR
    if market == "japan":
        winter, summer = (np.array(known["japan"][f"{name}_weekday"]) for name in ("winter", "summer"))
        hours = [24 * row / row.sum() for row in (winter, (winter + summer) / 2, summer) for _ in range(3)]
    else:
        hours = [np.array(known["shape"][f"{s}_{d}"]) for s in SEASONS for d in ("weekday", "saturday", "sunday")]
    return BaseLoad([f"{market} household"], mean_kw * np.array(hours)[:, None, :], [])


def _read(path: Path, wanted: list[str]) -> BaseLoad:
    """Profiles of a CSV file (also gzipped): column `time`, further columns mean power from that time on, kW."""
    try:
        if path.stat().st_size > LARGEST_FILE_B:
            raise GridError(f"{path}: larger than {LARGEST_FILE_B // 1_000_000} MB, no file of profiles")
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
        rows = list(csv.reader(text.splitlines()))
    except (OSError, EOFError, UnicodeDecodeError, zlib.error, csv.Error) as error:
        raise GridError(f"{path}: cannot be read as CSV ({' '.join(str(error).split())})") from None
    head = [name.strip() for name in rows[0]] if rows else []
    if len(head) < 2 or head[0] != "time":
        raise GridError(f"{path}, line 1: must be time and one or more profiles, is {','.join(head)[:60]!r}")
    names = wanted or head[1:]
    for name in names:
        if name not in head[1:]:
            raise GridError(f"{path}: no profile {name!r}; it has {', '.join(head[1:])}")
    if len(set(head)) < len(head):
        raise GridError(f"{path}, line 1: two columns of one name")
    columns = [head.index(name) for name in names]
    times, kw = [], np.zeros((len(rows) - 1, len(names)))
    for i, row in enumerate(rows[1:]):
        place = f"{path}, line {i + 2}"
        if len(row) != len(head):
            raise GridError(f"{place}: {len(row)} cells, the header has {len(head)}")
        try:
            times.append(datetime.fromisoformat(row[0].strip()).replace(tzinfo=None))
        except ValueError:
            raise GridError(f"{place}: time must be like 2022-10-12T00:15, is {row[0]!r}") from None
        for k, column in enumerate(columns):
            kw[i, k] = _power(row[column], place, names[k])
    return _days(path, names, times, kw)


def _power(text: str, place: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise GridError(f"{place}: {name} must be a power of at least 0 kW, is {text!r}")
    return value


def _days(path: Path, names: list[str], times: list[datetime], kw: Floats) -> BaseLoad:
    if len(times) < 2:
        raise GridError(f"{path}: {len(times)} rows; give at least one day")
    step = (times[1] - times[0]).total_seconds()
    if step <= 0 or DAY_S % step:
        raise GridError(f"{path}, line 3: {step:g} s after the line before; a step must divide a day")
    for i in range(1, len(times)):
        away = (times[i] - times[i - 1]).total_seconds()
        if away != step:
            what = "a gap" if away > step else "not in order"
            raise GridError(f"{path}, line {i + 2}: {what}, {away:g} s after the line before instead of {step:g} s")
    per_day = int(DAY_S / step)
    if (times[0].hour, times[0].minute, times[0].second) != (0, 0, 0) or len(times) % per_day:
        raise GridError(
            f"{path}: {len(times)} rows from {times[0]:%H:%M}; must be whole days of {per_day} from midnight"
        )
    count = len(times) // per_day
    dates = [(times[0] + timedelta(days=k)).date().isoformat() for k in range(count)]
    return BaseLoad(names, kw.reshape(count, per_day, len(names)).transpose(0, 2, 1).copy(), dates)
