"""A scenario's own feeders, from a CSV file with their ratings.

One row per feeder::

    name,rated_kva,lat,lon,homes,transformer,transformer_kva,sites
    Quay street,111,60.1699,24.9384,40,T1,400,Harbour;Market hall

Homes of the map hang on the nearest feeder. Left out: `homes` the homes of the map that do (for what households draw),
`transformer` and `transformer_kva` the feeder itself. `sites` are names of charging sites on this feeder, split by `;`;
others hang on the nearest one.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from twin.grid.base_load import GridError

KEYS = ("name", "rated_kva", "lat", "lon", "homes", "transformer", "transformer_kva", "sites")
LARGEST_FILE_B = 20_000_000


@dataclass(frozen=True)
class OwnFeeder:
    """One row of a file; `homes` is None where the map says."""

    name: str
    rated_kva: float
    lat: float
    lon: float
    homes: int | None
    transformer: str
    transformer_kva: float
    sites: tuple[str, ...]
    place: str


def read_own_feeders(path: Path) -> list[OwnFeeder]:
    """Feeders of a CSV file, in its order.

    Raises
    ------
    GridError
        Naming file, line and what is valid.
    """
    try:
        if path.stat().st_size > LARGEST_FILE_B:
            raise GridError(f"{path}: larger than {LARGEST_FILE_B // 1_000_000} MB, no file of feeders")
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            head, rows = list(reader.fieldnames or []), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise GridError(f"{path}: cannot be read as CSV ({' '.join(str(error).split())})") from None
    for key in ("name", "rated_kva", "lat", "lon"):
        if key not in head:
            raise GridError(f"{path}, line 1: no column {key!r}; valid: {', '.join(KEYS)}")
    if unknown := [key for key in head if key not in KEYS]:
        raise GridError(f"{path}, line 1: unknown column {unknown[0]!r}; valid: {', '.join(KEYS)}")
    if not rows:
        raise GridError(f"{path}: no feeder; give at least one row")
    feeders = [_feeder(row, f"{path}, line {i + 2}") for i, row in enumerate(rows)]
    seen: dict[str, str] = {}
    transformers: dict[str, float] = {}
    for feeder in feeders:
        for name in (feeder.name, *(f"site {s}" for s in feeder.sites)):
            if name in seen:
                raise GridError(f"{feeder.place}: {name} is on {seen[name].rpartition(', ')[2]} already")
            seen[name] = feeder.place
        if transformers.setdefault(feeder.transformer, feeder.transformer_kva) != feeder.transformer_kva:
            raise GridError(f"{feeder.place}: transformer {feeder.transformer} has two ratings")
    return feeders


def _feeder(row: Mapping[str, str | None], place: str) -> OwnFeeder:
    if None in row or None in row.values():
        raise GridError(f"{place}: more or fewer cells than columns")
    text = {key: (value or "").strip() for key, value in row.items()}
    if not text["name"]:
        raise GridError(f"{place}: name is empty")
    where = f"{place}: feeder {text['name']}"
    rated = _number(text, "rated_kva", where, low=1e-9)
    homes = _number(text, "homes", where, low=0) if text.get("homes") else None
    if homes is not None and homes != int(homes):
        raise GridError(f"{where}: homes must be a whole number, is {homes:g}")
    transformer = text.get("transformer") or text["name"]
    if text.get("transformer_kva"):
        transformer_kva = _number(text, "transformer_kva", where, low=1e-9)
    elif transformer == text["name"]:
        transformer_kva = rated
    else:
        raise GridError(f"{where}: transformer {transformer} has no transformer_kva; give its rating")
    sites = tuple(s.strip() for s in text.get("sites", "").split(";") if s.strip())
    lat, lon = _number(text, "lat", where, low=-90, high=90), _number(text, "lon", where, low=-180, high=180)
    known = None if homes is None else int(homes)
    return OwnFeeder(text["name"], rated, lat, lon, known, transformer, transformer_kva, sites, place)


def _number(row: Mapping[str, str], key: str, where: str, *, low: float, high: float = math.inf) -> float:
    try:
        value = float(row[key])
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and low <= value <= high):
        least = "above 0" if low == 1e-9 else f"at least {low:g}"
        most = f" and at most {high:g}" if high < math.inf else ""
        raise GridError(f"{where}: {key} must be a number {least}{most}, is {row[key]!r}")
    return value
