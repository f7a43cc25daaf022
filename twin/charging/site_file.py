"""A scenario's own charging sites, from a CSV or GeoJSON file.

CSV: a header and one row per connector of a site; rows of one name are one site. GeoJSON: one point per site, its
sockets a list. Columns and properties are the same::

    name,lat,lon,connector,count,kw,open,operator,price,cap_kw,access
    Harbour,60.17,24.94,ccs,2,150,06:00-22:00,City Power,0.45,200,public
    Harbour,60.17,24.94,chademo,1,50,,,,,

`connector` is one of chademo, ccs, type2, type1, schuko. Left out: `count` 1, `kw` the default of the connector, `open`
always, `operator` none, `price` the tariff's, `cap_kw` what the sockets can draw, `access` public (or private).
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maps.network import SOCKET_KINDS
from twin.charging.site import ChargingError, Socket

SLOTS = 96
DEFAULT_KW = {"chademo": 50.0, "ccs": 50.0, "type2": 22.0, "type1": 6.0, "schuko": 2.3}
"""Power of a connector when the file does not say: usual posts (assumption)."""
KEYS = ("name", "lat", "lon", "connector", "count", "kw", "open", "operator", "price", "cap_kw", "access")
LARGEST_FILE_B = 20_000_000


@dataclass
class OwnSite:
    """One site of a file; `open_slots` has one entry per quarter of an hour of the day."""

    name: str
    lat: float
    lon: float
    place: str
    sockets: list[Socket] = field(default_factory=list)
    open_slots: NDArray[np.bool_] = field(default_factory=lambda: np.ones(SLOTS, bool))
    operator: str = ""
    price: float = math.nan
    cap_kw: float = math.inf
    public: bool = True


def open_slots(text: str) -> NDArray[np.bool_]:
    """Quarters of an hour that lie in opening hours such as "06:00-12:00;13:00-22:00"; empty or "24/7" is always.

    Raises
    ------
    ValueError
        When hours cannot be read or overlap.

    Examples
    --------
    >>> int(open_slots("22:00-06:00").sum())
    32
    """
    if text.strip() in ("", "24/7"):
        return np.ones(SLOTS, bool)
    found = np.zeros(SLOTS, bool)
    for part in text.split(";"):
        first, dash, last = part.strip().partition("-")
        begin, end = _slot(first), _slot(last)
        if not dash or begin is None or end is None or begin in (end, SLOTS):
            raise ValueError(f"opening hours {part.strip()!r}; valid: 06:00-22:00, several with ; between, or 24/7")
        span = np.arange(begin, end if end > begin else end + SLOTS) % SLOTS
        if found[span].any():
            raise ValueError(f"opening hours {text!r} overlap")
        found[span] = True
    return found


def _slot(clock: str) -> int | None:
    hour, colon, minute = clock.strip().partition(":")
    if not (hour.isdigit() and minute.isdigit() and colon) or int(hour) > 24 or int(minute) not in (0, 15, 30, 45):
        return None
    slot = int(hour) * 4 + int(minute) // 15
    return slot if slot <= SLOTS else None


def read_own_sites(path: Path) -> list[OwnSite]:
    """Sites of a file, in its order.

    Raises
    ------
    ChargingError
        One line with file, row and what is valid.
    """
    if not path.is_file():
        raise ChargingError(f"charging.sites: no file {path}; valid: a CSV or GeoJSON file")
    if path.stat().st_size > LARGEST_FILE_B:
        raise ChargingError(f"{path}: larger than {LARGEST_FILE_B // 1_000_000} MB")
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise ChargingError(f"{path}: not UTF-8 text") from None
    rows = _features(path, text) if path.suffix in (".geojson", ".json") else _rows(path, text)
    sites: dict[str, OwnSite] = {}
    for place, row in rows:
        try:
            _add(sites, place, row)
        except ValueError as error:
            raise ChargingError(f"{place}: {error}") from None
    if not sites:
        raise ChargingError(f"{path}: holds no site")
    for site in sites.values():
        if not site.sockets:
            raise ChargingError(f"{site.place}: site {site.name} has no socket; give at least one connector")
    return list(sites.values())


def _rows(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        reader = csv.DictReader(text.splitlines())
        header, lines = reader.fieldnames or [], list(reader)
    except csv.Error as error:
        raise ChargingError(f"{path}: cannot be read as CSV ({error})") from None
    for name in header:
        if name not in KEYS:
            raise ChargingError(f"{path}: unknown column {name!r}; valid: {', '.join(KEYS)}")
    for name in ("name", "lat", "lon", "connector"):
        if name not in header:
            raise ChargingError(f"{path}: no column {name}; valid: {', '.join(KEYS)}")
    for number, row in enumerate(lines, start=2):
        if None in row:
            raise ChargingError(f"{path}, line {number}: more cells than columns")
        yield f"{path}, line {number}", row


def _features(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        features = json.loads(text)["features"]
        listed = [(f["properties"], f["geometry"]["type"], f["geometry"]["coordinates"]) for f in features]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ChargingError(f"{path}: not a GeoJSON collection of features with properties and geometry") from None
    for number, (said, shape, at) in enumerate(listed, start=1):
        place = f"{path}, feature {number}"
        if shape != "Point" or not isinstance(at, list) or len(at) < 2 or not isinstance(said, dict):
            raise ChargingError(f"{place}: must be a Point with properties, is {shape}")
        base = {"name": f"site {number}", **said, "lon": at[0], "lat": at[1]}
        sockets = base.pop("sockets", None)
        unknown = [key for key in base if key not in KEYS]
        if unknown:
            raise ChargingError(f"{place}: unknown property {unknown[0]!r}; valid: sockets, {', '.join(KEYS)}")
        if sockets is None:
            yield place, base
        elif not isinstance(sockets, list) or not all(isinstance(s, dict) for s in sockets):
            raise ChargingError(
                f"{place}: sockets must be a list such as [{{'connector': 'ccs', 'count': 2, 'kw': 50}}]"
            )
        else:
            yield place, {**base, "connector": ""}
            for socket in sockets:
                yield place, {"name": base["name"], "lat": base["lat"], "lon": base["lon"], **socket}


def _add(sites: dict[str, OwnSite], place: str, row: Mapping[str, Any]) -> None:
    name = str(row.get("name") or "").strip()
    if not name:
        raise ValueError("name is empty")
    lat, lon = _number(row, "lat", low=-90, high=90), _number(row, "lon", low=-180, high=180)
    site = sites.setdefault(name, OwnSite(name, lat, lon, place))
    if (site.lat, site.lon) != (lat, lon):
        raise ValueError(f"site {name} is at two places")
    if text := str(row.get("open") or "").strip():
        site.open_slots = open_slots(text)
    site.operator = str(row.get("operator") or site.operator)
    if row.get("price") not in (None, ""):
        site.price = _number(row, "price", low=0)
    if row.get("cap_kw") not in (None, ""):
        site.cap_kw = _number(row, "cap_kw", low=1e-9)
    if access := str(row.get("access") or ""):
        if access not in ("public", "private"):
            raise ValueError(f"access {access!r}; valid: public, private")
        site.public = access == "public"
    if not (connector := str(row.get("connector") or "").strip().lower()):
        return
    if connector not in SOCKET_KINDS:
        raise ValueError(f"connector {connector!r}; valid: {', '.join(SOCKET_KINDS)}")
    count = _number({"count": 1} if row.get("count") in (None, "") else row, "count", low=1, high=10_000)
    kw = DEFAULT_KW[connector] if row.get("kw") in (None, "") else _number(row, "kw", low=1e-9, high=10_000)
    if count != int(count):
        raise ValueError(f"count must be a whole number, is {count:g}")
    site.sockets.append(Socket(SOCKET_KINDS.index(connector), int(count), kw))


def _number(row: Mapping[str, Any], key: str, *, low: float, high: float = math.inf) -> float:
    said = row.get(key)
    try:
        value = float("nan" if said is None or isinstance(said, bool) else said)
    except (TypeError, ValueError):
        value = math.nan
    if not (math.isfinite(value) and low <= value <= high):
        least = "above 0" if low == 1e-9 else f"at least {low:g}"
        raise ValueError(
            f"{key} must be a number, {least}{f', at most {high:g}' if high < math.inf else ''}, is {said!r}"
        )
    return value
