"""Files of real charging sessions, by pattern, in any folder of the same layout; and the tables of stays made of them.

`python -m runs.session_data FOLDER` prints `twin/facts/stays.toml` as made from the files of a folder.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from twin.charging.stays import LEVELS, PART_OF_DAY

PATTERN = "*_sessions_*.csv.gz"
SETS = {
    "norway": "norway_residential",
    "trondheim": "trondheim_residential",
    "dundee": "dundee_public",
    "perth": "perth_public",
    "boulder": "boulder_public",
    "belib": "paris_belib",
    "epfl": "epfl_dcfc",
}
"""Sets of real sessions, and how their files' names begin."""
HOME = "home"
"""Kind of sessions at homes; other kinds are those of `twin.charging.stays`."""
_KIND_OF_CLASS = {
    "slow_7kW": "uk_slow",
    "fast_22kW": "uk_22kw",
    "rapid_43_50kW": "uk_rapid",
    "other": "uk_rapid",  # Dundee's APT Raption of 50 kW
}
_KIND_OF_PLUG = {"CHAdeMO": "fr_fast", "CCS": "fr_fast", "TE": "fr_domestic"}


class SessionDataError(ValueError):
    """Real sessions cannot be read; one line with the file and what is wanted."""


class RealSessions(NamedTuple):
    """Sessions of one set; all arrays have one entry per session.

    Attributes
    ----------
    hour : ndarray of float64
        Local hour of plugging in.
    stay_h, energy_kwh : ndarray of float64
    kind : ndarray of str
        HOME or a kind of `twin.charging.stays`.
    columns : pyarrow.Table
        What the file says besides.
    """

    hour: NDArray[np.float64]
    stay_h: NDArray[np.float64]
    energy_kwh: NDArray[np.float64]
    kind: NDArray[np.str_]
    columns: pa.Table


def files_of(folder: Path, name: str) -> list[Path]:
    """Files of a set in a data folder (or its folder `charging`), sorted; none when there are none."""
    here = folder / "charging" if (folder / "charging").is_dir() else folder
    return sorted(p for p in here.glob(PATTERN) if p.name.startswith(SETS[name]))


def read_sessions(folder: Path, name: str) -> RealSessions:
    """All sessions of a set.

    Raises
    ------
    SessionDataError
        When there is no file, or one cannot be read or holds sessions that end before they begin.
    """
    found = files_of(folder, name)
    if not found:
        raise SessionDataError(f"{folder} has no file charging/{SETS[name]}{PATTERN[1:]}")
    parts = []
    for path in found:
        try:
            parts.append(_read(path))
        except (KeyError, ValueError, pa.ArrowException, OSError) as error:
            raise SessionDataError(f"{path}: cannot be read as charging sessions: {_line(error)}") from None
    tables = pa.concat_tables([p.columns for p in parts], promote_options="default")
    hour, stay_h, energy, kind = (np.concatenate([p[i] for p in parts]) for i in range(4))
    return RealSessions(hour, stay_h, energy, kind, tables)


def _read(path: Path) -> RealSessions:
    table = pyarrow.csv.read_csv(path)
    for wanted in ("start", "end", "energy_kwh"):
        if wanted not in table.column_names:
            raise KeyError(f"no column {wanted}")
    start, end = (pc.cast(table[c], pa.timestamp("s")).to_numpy().astype("datetime64[s]") for c in ("start", "end"))
    stay_h = (end - start) / np.timedelta64(3600, "s")
    energy = table["energy_kwh"].to_numpy().astype(float)
    wrong = np.flatnonzero(~(stay_h > 0) | ~(energy >= 0))
    if len(wrong):
        raise ValueError(f"row {wrong[0] + 2}: must end after it begins, with energy of 0 or more")
    hour = (start - start.astype("datetime64[D]")) / np.timedelta64(3600, "s")
    return RealSessions(hour, stay_h, energy, _kinds(table), table)


def _kinds(table: pa.Table) -> NDArray[np.str_]:
    names = table.column_names
    if "charger_class" in names:
        return np.array([_KIND_OF_CLASS.get(c, "uk_rapid") for c in table["charger_class"].to_pylist()])
    if "port_type" in names:
        return np.full(len(table), "us_level2")
    if "p_req_max_kw" in names:
        return np.full(len(table), "ch_fast150")
    if "plug" in names:
        return np.array([_KIND_OF_PLUG.get(c, "fr_22kw") for c in table["plug"].to_pylist()])
    return np.full(len(table), HOME)


def _line(error: Exception) -> str:
    return " ".join(str(error.args[0] if error.args else error).split())[:200]


# ------------------------------------------------------------------ the tables of stays


def tabulate(parts: list[RealSessions]) -> dict[str, dict[str, Any]]:
    """Tables of `twin.charging.stays` by kind, pooled over sets; homes are left out."""
    hour, stay, energy, kind = (np.concatenate([p[i] for p in parts]) for i in range(4))
    out: dict[str, dict[str, Any]] = {}
    for name in sorted(set(kind.tolist()) - {HOME}):
        mine = kind == name
        h, s, e = hour[mine], stay[mine], energy[mine]
        part, cuts = PART_OF_DAY[h.astype(int)], np.quantile(s, [1 / 3, 2 / 3]).round(3)
        share = np.bincount(h.astype(int), minlength=24) / len(h)
        out[name] = {
            "sessions": len(h),
            "hour_share": share.round(4).tolist(),
            "stay_h": [_levels(s[part == p] if (part == p).any() else s) for p in range(4)],
            "stay_cuts_h": cuts.tolist(),
            "energy_kwh": [_levels(e[np.searchsorted(cuts, s) == b]) for b in range(3)],
        }
    return out


def _levels(values: NDArray[np.float64]) -> list[float]:
    return [float(q) for q in np.quantile(values, LEVELS).round(3)]


def to_toml(tables: dict[str, dict[str, Any]], source: dict[str, str]) -> Iterator[str]:
    """Lines of `stays.toml`."""
    yield "# Charging sessions at public and fast sites by kind of socket: share of arrivals per hour, quantiles of the"
    yield "# time plugged in (h) by part of the day, and of the energy at the meter (kWh) by length of stay; the shares"
    yield "# of the quantiles are LEVELS of twin/charging/stays.py. Made by: python -m runs.session_data FOLDER"
    yield "schema_version = 1"
    for name, table in tables.items():
        yield f"\n[{name}]"
        for key, value in table.items():
            if isinstance(value, list) and isinstance(value[0], list):
                yield f"{key} = ["
                yield from (f"    {row}," for row in value)
                yield "]"
            else:
                yield f"{key} = {value}"
        yield f'source = "{source[name]}"'
        yield 'confidence = "measured"'


SOURCES = {
    "uk_slow": "DUNDEE18+PERTH18",
    "uk_22kw": "DUNDEE18+PERTH18",
    "uk_rapid": "DUNDEE18+PERTH18",
    "us_level2": "BOULDER21",
    "fr_22kw": "BELIB17",
    "fr_domestic": "BELIB17",
    "fr_fast": "BELIB17",
    "ch_fast150": "EPFL23",
}

if __name__ == "__main__":
    sets = [read_sessions(Path(sys.argv[1]), name) for name in SETS]
    sys.stdout.write("\n".join(to_toml(tabulate(sets), SOURCES)) + "\n")
