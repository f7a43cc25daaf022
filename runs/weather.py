"""Temperature of a run: a table that the user brings, or a market's typical year, hour by hour."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runs.demand.trip_list import DemandFileError, read_table
from twin.energy.climate import HOURS, typical_year_c
from twin.settings import ClimateSettings

LEAST_C, MOST_C = -50.0, 60.0


class WeatherError(ValueError):
    """A table of temperatures cannot be used; one line with file, row and what is valid."""


def resolved(climate: ClimateSettings, *, market: str, start: datetime, until_s: int) -> ClimateSettings:
    """The same settings with the temperatures of all hours in `ambient_c`.

    Parameters
    ----------
    climate : ClimateSettings
    market : str
        Whose typical year.
    start, until_s : start (civil time) and length of the run

    Raises
    ------
    WeatherError
        When two sources are named, or the table is damaged or has a gap inside the run.
    """
    if not climate.year and not climate.table:
        return climate
    if climate.year and climate.table:
        raise WeatherError("climate.year and climate.table exclude each other; valid: one of them")
    midnight = start.replace(hour=0, minute=0, second=0, microsecond=0)
    days = -(-int((start - midnight).total_seconds() + until_s) // 86_400)
    hours = [midnight + timedelta(hours=h) for h in range(HOURS * days)]
    if climate.year:
        values = typical_year_c(market, [at.month for at in hours], [at.hour for at in hours])
    else:
        end = start + timedelta(seconds=until_s)
        needed = np.array([at + timedelta(hours=1) > start and at < end for at in hours])
        values = _series(Path(climate.table), hours, needed)
    return climate.model_copy(update={"ambient_c": [round(float(v), 3) for v in values], "year": "", "table": ""})


def _series(path: Path, hours: list[datetime], needed: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Temperature of each hour; hours outside the run repeat the nearest known one."""
    if not path.is_file():
        raise WeatherError(f"climate.table: {path} is not a file")
    try:
        table = read_table(path)
    except DemandFileError as error:
        raise WeatherError(str(error)) from None
    if not {"time", "temperature_c"} <= set(table.column_names):
        raise WeatherError(f"{path}: columns {', '.join(table.column_names)[:160]}; valid: time, temperature_c")
    known: dict[datetime, float] = {}
    for row, (when, value) in enumerate(
        zip(table["time"].to_pylist(), table["temperature_c"].to_pylist(), strict=True), 1
    ):
        at = _moment(when)
        if at is None:
            raise WeatherError(
                f"{path}: row {row}: time is {str(when)[:40]!r}; valid is local time such as 2022-10-12T07:00"
            )
        if isinstance(value, bool) or not isinstance(value, int | float) or not LEAST_C <= value <= MOST_C:
            raise WeatherError(
                f"{path}: row {row}: temperature_c is {str(value)[:40]!r}; valid are {LEAST_C:g} to {MOST_C:g}"
            )
        hour = at.replace(minute=0, second=0, microsecond=0)
        if hour in known:
            raise WeatherError(f"{path}: row {row}: the hour {hour} is there twice")
        known[hour] = float(value)
    values = np.array([known.get(at, np.nan) for at in hours])
    gaps = np.flatnonzero(np.isnan(values) & needed)
    if len(gaps):
        more = f" and {len(gaps) - 1} more" if len(gaps) > 1 else ""
        raise WeatherError(f"{path}: no temperature for {hours[gaps[0]]}{more}; every hour of the run is needed")
    there = np.flatnonzero(~np.isnan(values))
    return np.asarray(np.interp(np.arange(len(values)), there, values[there]))


def _moment(value: object) -> datetime | None:
    if isinstance(value, datetime):
        return value.replace(tzinfo=None)
    try:
        at = datetime.fromisoformat(str(value).strip())
    except ValueError:
        return None
    return None if at.tzinfo is not None else at
