"""Lists of trips as files give them, before the map is looked at; CSV and Parquet tables."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twin.demand.days import PURPOSES

if TYPE_CHECKING:
    import pyarrow as pa

NO_NODE = -(2**62)
LONGEST_S = 366 * 86_400.0

WAYS_TO_SAY_WHERE = (("lon", "lat"), ("node",), ("zone",), ("edge",))
OPTIONAL = ("trip_id", "car_id", "purpose", "arrive_s", "arrive")
VALID = "depart_s or depart; from_/to_ with lon and lat, node, zone or edge; optional " + ", ".join(OPTIONAL)

_CLOCK = re.compile(r"(?:(\d{1,3}):)?(\d{1,3}):([0-5]?\d):([0-5]?\d(?:\.\d+)?)|(\d{1,3}):([0-5]\d)")


class DemandFileError(ValueError):
    """A file of demand cannot be used; one line with the file, the place in it and what is valid."""


@dataclass
class Ends:
    """Where trips start or end, in any of the ways files say it; one entry per trip."""

    lon: list[float] = field(default_factory=list)
    lat: list[float] = field(default_factory=list)
    node: list[int] = field(default_factory=list)  # OpenStreetMap id, NO_NODE none
    name: list[str] = field(default_factory=list)  # zone or edge, "" none

    def add(self, *, lon: float = math.nan, lat: float = math.nan, node: int = NO_NODE, name: str = "") -> None:
        """Append one."""
        self.lon.append(lon)
        self.lat.append(lat)
        self.node.append(node)
        self.name.append(name)


@dataclass
class TripList:
    """Trips of a file. `depart_s` counts from midnight of the scenario's first day, NaN unknown.

    `fault` is a word of `twin.demand.given.REASONS` where the reader knows already that a trip cannot be
    driven; `names_are` tells whether `Ends.name` are zones or SUMO edges; `chains` whether cars' names
    join trips to chains.
    """

    source: str
    names_are: str = "zone"
    chains: bool = False
    row: list[int] = field(default_factory=list)
    trip: list[str] = field(default_factory=list)
    car: list[str] = field(default_factory=list)
    purpose: list[int] = field(default_factory=list)
    depart_s: list[float] = field(default_factory=list)
    fault: list[str] = field(default_factory=list)
    start: Ends = field(default_factory=Ends)
    end: Ends = field(default_factory=Ends)
    ignored: int = 0
    crs: str = ""

    def __len__(self) -> int:
        return len(self.row)

    def add(self, *, row: int, trip: str, car: str, purpose: int, depart_s: float, fault: str = "") -> None:
        """Append what is not an end."""
        self.row.append(row)
        self.trip.append(trip)
        self.car.append(car)
        self.purpose.append(purpose)
        self.depart_s.append(depart_s)
        self.fault.append(fault or ("no_departure" if math.isnan(depart_s) else ""))


class Purposes:
    """Words for purposes in files: ours, and those that `demand.purposes` translates ("escort=errand").

    Raises
    ------
    DemandFileError
        For a translation that is none.
    """

    def __init__(self, translations: Sequence[str]) -> None:
        self._row = {name: row for row, name in enumerate(PURPOSES)}
        for text in translations:
            word, equals, ours = (part.strip() for part in text.partition("="))
            if not (word and equals and ours in PURPOSES):
                raise DemandFileError(
                    f'demand.purposes: {text!r} must be "word of the file=one of {", ".join(PURPOSES)}"'
                )
            self._row[word.lower()] = PURPOSES.index(ours)

    def row(self, word: str, where: str) -> int:
        """Row of PURPOSES for a word of a file; `where` begins the error line."""
        found = self._row.get(word.strip().lower())
        if found is None:
            near = get_close_matches(word.lower(), list(self._row), 1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise DemandFileError(
                f"{where}: unknown purpose {word[:40]!r}{hint}; valid are {', '.join(self._row)}, "
                f'and words that demand.purposes translates, such as "{word[:40]}=errand"'
            )
        return found


def seconds(text: str) -> float:
    """Seconds of "27000", "7:30", "7:30:00" or "1:07:30:00" (days first); NaN for anything else.

    Examples
    --------
    >>> seconds("7:30"), seconds("1:00:00:30"), seconds("soon")
    (27000.0, 86430.0, nan)
    """
    text = text.strip()
    found = _CLOCK.fullmatch(text)
    if found:
        day, hour, minute, second, short_hour, short_minute = found.groups()
        if short_hour is not None:
            return int(short_hour) * 3600.0 + int(short_minute) * 60.0
        return int(day or 0) * 86_400.0 + int(hour) * 3600.0 + int(minute) * 60.0 + float(second)
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def read_table(path: Path) -> pa.Table:
    """A CSV or Parquet file as a table.

    Raises
    ------
    DemandFileError
    """
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    if path.exists() and not path.is_file():
        raise DemandFileError(f"{path}: is no regular file; valid are CSV and Parquet files")
    try:
        parquet = path.suffix.lower() in (".parquet", ".pq")
        if not parquet:
            with path.open("rb") as file:
                if any(b"\0" in part for part in iter(lambda: file.read(1 << 20), b"")):
                    raise DemandFileError(f"{path}: holds NUL characters; valid are CSV and Parquet files")
        table = pyarrow.parquet.read_table(path) if parquet else pyarrow.csv.read_csv(path)
        names = table.column_names
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        what = " ".join(str(error).split())[:200]
        raise DemandFileError(f"{path}: cannot be read as a table ({what}); valid are CSV and Parquet") from None
    if len(set(names)) != len(names):
        raise DemandFileError(f"{path}: two columns have the same name")
    return table


def read_trip_table(path: Path, *, purposes: Purposes) -> TripList:
    """Trips of a CSV or Parquet file; columns as in `VALID`, further columns are left aside.

    Raises
    ------
    DemandFileError
        When columns are missing or mixed up, a value is no number or no time, a purpose is unknown, a car's
        times run backwards, or a trip's name is used twice.
    """
    table = read_table(path)
    names = table.column_names
    way = next((w for w in WAYS_TO_SAY_WHERE if all(f"{e}_{p}" in names for e in ("from", "to") for p in w)), None)
    when = next((name for name in ("depart_s", "depart") if name in names), None)
    if way is None or when is None:
        raise DemandFileError(f"{path}: columns {', '.join(names)[:200]} do not say where and when; valid: {VALID}")
    size = table.num_rows
    depart = _times(table, when, path)
    arrive = next((name for name in ("arrive_s", "arrive") if name in names), None)
    if arrive:
        back = np.flatnonzero(_times(table, arrive, path) < depart)
        if len(back):
            raise DemandFileError(f"{path}: row {back[0] + 1}: arrives before it departs; times must not run backwards")
    found = TripList(str(path), names_are=way[0] if way[0] in ("zone", "edge") else "zone", chains="car_id" in names)
    found.row = list(range(1, size + 1))
    found.trip = _texts(table, "trip_id") if "trip_id" in names else [str(row) for row in found.row]
    _once(found.trip, path, "trip_id")
    found.car = _texts(table, "car_id") if "car_id" in names else [""] * size
    if "purpose" in names:
        words = _texts(table, "purpose")
        known = {word: purposes.row(word, f"{path}: row {words.index(word) + 1}") for word in dict.fromkeys(words)}
        found.purpose = [known[word] for word in words]
    else:
        found.purpose = [PURPOSES.index("errand")] * size
    found.depart_s = depart.tolist()
    found.fault = ["no_departure" if missing else "" for missing in np.isnan(depart).tolist()]
    _forwards(found, path)
    for ends, side in ((found.start, "from"), (found.end, "to")):
        ends.lon = ends.lat = [math.nan] * size
        ends.node, ends.name = [NO_NODE] * size, [""] * size
        if way == ("lon", "lat"):
            ends.lon, ends.lat = (_numbers(table, f"{side}_{axis}", path).tolist() for axis in way)
        elif way == ("node",):
            ends.node = _wholes(table, f"{side}_node", path)
        else:
            ends.name = _texts(table, f"{side}_{way[0]}")
    return found


def _forwards(trips: TripList, path: Path) -> None:
    """Refuse cars whose trips go back in time from row to row, or depart twice at once."""
    last: dict[str, tuple[float, int]] = {}
    for row, car, at in zip(trips.row, trips.car, trips.depart_s, strict=True):
        if not car or math.isnan(at):
            continue
        before, where = last.get(car, (-math.inf, 0))
        if at <= before:
            what = "twice at the same time" if at == before else "earlier than in the row before"
            raise DemandFileError(
                f"{path}: row {row}: car {car[:40]!r} departs {what} (row {where}); a car's rows must go on in time"
            )
        last[car] = at, row


def _once(names: Sequence[str], path: Path, what: str) -> None:
    seen: dict[str, int] = {}
    for row, name in enumerate(names, 1):
        if name and name in seen:
            raise DemandFileError(f"{path}: row {row}: {what} {name[:40]!r} is that of row {seen[name]} too")
        seen[name] = row


def _texts(table: pa.Table, name: str) -> list[str]:
    return ["" if value is None else str(value).strip() for value in table[name].to_pylist()]


def _numbers(table: pa.Table, name: str, path: Path) -> NDArray[np.float64]:
    """A column of finite numbers; empty ones are NaN."""
    out = np.full(table.num_rows, math.nan)
    for row, value in enumerate(table[name].to_pylist()):
        if value is None:
            continue
        number = _number(value)
        if number is None:
            raise DemandFileError(f"{path}: row {row + 1}: {name} is {str(value)[:40]!r}, not a finite number")
        out[row] = number
    return out


def _wholes(table: pa.Table, name: str, path: Path) -> list[int]:
    out = []
    for row, value in enumerate(table[name].to_pylist()):
        if value is None:
            out.append(NO_NODE)
            continue
        if isinstance(value, bool) or not isinstance(value, int):
            raise DemandFileError(f"{path}: row {row + 1}: {name} is {str(value)[:40]!r}, not an OpenStreetMap node id")
        out.append(value)
    return out


def _times(table: pa.Table, name: str, path: Path) -> NDArray[np.float64]:
    """A column of times: seconds or clock times since midnight; empty ones are NaN."""
    out = np.full(table.num_rows, math.nan)
    for row, value in enumerate(table[name].to_pylist()):
        if value is None or value == "":
            continue
        if hasattr(value, "hour"):  # Arrow reads 07:30:00 as a time of day
            at = value.hour * 3600.0 + value.minute * 60.0 + value.second
        else:
            at = seconds(value) if isinstance(value, str) else _number(value)
        if at is None or not 0 <= at <= LONGEST_S:
            raise DemandFileError(
                f"{path}: row {row + 1}: {name} is {str(value)[:40]!r}; valid are seconds since midnight or 7:30:00"
            )
        out[row] = at
    return out


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def first_of(attributes: Mapping[str, str], *names: str) -> str:
    """The first of these attributes that an XML element has, "" when none."""
    return next((attributes[name] for name in names if attributes.get(name)), "")
