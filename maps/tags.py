"""What OpenStreetMap tags mean for a car: speed, lanes, direction, access, sockets.

Every function takes tag values as they are typed by mappers and returns a number or
None; nothing raises on odd spelling. Defaults are data in `rules/*.toml`.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from maps.network import ROAD_CLASSES, SOCKET_KINDS

RULES = Path(__file__).parent / "rules"
KMH_PER_MPH = 1.609344
KMH_PER_KNOT = 1.852

BLOCKED = frozenset(
    {"no", "private", "agricultural", "forestry", "delivery", "emergency", "official", "military", "bus", "psv"}
    | {"permit", "restricted", "hgv", "foot", "bicycle"}
)
"""Values of the most specific access tag that keep ordinary cars out."""

BARRIERS_CLOSED = frozenset(
    {"bollard", "block", "cycle_barrier", "jersey_barrier", "debris", "log", "wall", "fence", "kissing_gate"}
    | {"stile", "turnstile", "chain", "planter"}
)
BARRIERS_GATED = frozenset(("gate", "lift_gate", "swing_gate", "sally_port", "sliding_gate"))

_ACCESS = ("motorcar", "motor_vehicle", "vehicle", "access")
_SPEED = re.compile(r"^~?\s*(\d+(?:[.,]\d+)?)\s*(mph|mi/h|km/h|kmh|kph|kmph|knots)?$")
_SYNONYMS = {
    "walking": "walk", "unlimited": "none", "autobahn": "motorway", "nsl_single": "rural", "nsl_dual": "trunk",
}  # fmt: skip
_NUMBER = re.compile(r"\d+(?:[.,]\d+)?")


@lru_cache(maxsize=8)
def rules(name: str) -> dict[str, Any]:
    """Read one table of defaults, `rules/<name>.toml`."""
    return tomllib.loads((RULES / f"{name}.toml").read_text(encoding="utf-8"))


@lru_cache(maxsize=64)
def default_kmh(country: str, *, urban: bool) -> tuple[float, ...]:
    """Free speed per road class (order of ROAD_CLASSES) where no limit is tagged, km/h."""
    table, place = rules("speeds"), "urban" if urban else "rural"
    merged = {**table[""][place], **table.get(country, {}).get(place, {})}
    return tuple(float(merged[name]) for name in ROAD_CLASSES)


@lru_cache(maxsize=4096)
def parse_speed(text: str, country: str = "") -> float | None:
    """Read a `maxspeed` value, km/h; None where it names no speed.

    `50`, `30 mph`, `50 km/h`, `none`, `walk`, `DE:urban`, `DE:zone:30`, and lists such as
    `50;30`, of which the lowest counts: somewhere on the way it holds.

    Examples
    --------
    >>> parse_speed("30 mph"), parse_speed("50;30"), parse_speed("DE:rural"), parse_speed("signals")
    (48.28032, 30.0, 100.0, None)
    """
    found = [speed for part in re.split(r"[;|]", text) if (speed := _one_speed(part, country)) is not None]
    return min(found) if found else None


def _one_speed(text: str, country: str) -> float | None:
    text = text.strip().lower()
    match = _SPEED.match(text)
    if match:
        factor = {"mph": KMH_PER_MPH, "mi/h": KMH_PER_MPH, "knots": KMH_PER_KNOT}.get(match[2] or "", 1.0)
        speed = float(match[1].replace(",", ".")) * factor
        return speed if 3.0 <= speed <= 200.0 else None
    if ":" in text:
        head, _, word = text.partition(":")
        if re.fullmatch(r"[a-z]{2}(-[a-z]+)?", head):
            country, text = head[:2].upper(), word
    zone = re.fullmatch(r"zone:?(\d{1,3})", text)
    if zone:
        return float(zone[1]) if 3 <= int(zone[1]) <= 200 else None
    text = _SYNONYMS.get(text, text)
    words = {**rules("speeds")[""]["words"], **rules("speeds").get(country, {}).get("words", {})}
    return float(words[text]) if text in words else None


def way_speed(tags: Mapping[str, str], country: str, *, forward: bool) -> float | None:
    """Speed limit of a way in one direction, km/h; None where only a default can tell.

    A limit that holds at certain hours (`maxspeed:conditional`) is used only where no other
    is tagged. `source:maxspeed`, `maxspeed:type` and `zone:traffic` stand in for a missing number.
    """
    side = "forward" if forward else "backward"
    for key in (f"maxspeed:motorcar:{side}", "maxspeed:motorcar", f"maxspeed:{side}", "maxspeed"):
        if key in tags and (speed := parse_speed(tags[key], country)) is not None:
            return speed
    for key in ("maxspeed:variable", "maxspeed:conditional", "maxspeed:type", "source:maxspeed", "zone:maxspeed"):
        if key in tags and (speed := parse_speed(tags[key].split("@")[0].strip(), country)) is not None:
            return speed
    return None


@lru_cache(maxsize=1024)
def parse_count(text: str) -> int | None:
    """Read a number of lanes or sockets; the lowest of a list (`2;3` is 2), None if there is none."""
    matches = [_NUMBER.match(part.strip()) for part in text.split(";")]
    found = [int(float(match[0].replace(",", "."))) for match in matches if match]
    kept = [count for count in found if 1 <= count <= 200]
    return min(kept) if kept else None


def way_lanes(tags: Mapping[str, str], *, oneway: bool, forward: bool = True) -> int | None:
    """Lanes for cars in one direction of a way, None when only a default can tell.

    Of a two-way road with a single total, each side gets half, rounded down, at least
    one: the odd lane of three is most often a turning lane.
    """
    side, other = ("forward", "backward") if forward else ("backward", "forward")
    total = parse_count(tags["lanes"]) if "lanes" in tags else None
    if oneway:
        return total
    here, there = (parse_count(tags[f"lanes:{s}"]) if f"lanes:{s}" in tags else None for s in (side, other))
    if here is not None:
        return here
    if total is None:
        return None
    both = parse_count(tags["lanes:both_ways"]) if "lanes:both_ways" in tags else 0
    rest = total - (both or 0)
    return max(1, rest - there if there is not None else rest // 2)


def default_lanes(road_class: str, *, oneway: bool) -> int:
    """Lanes per direction where none are tagged: two on motorways and one-way trunk and primary roads, else one."""
    return 2 if road_class == "motorway" or (oneway and road_class in ("trunk", "primary")) else 1


def direction(tags: Mapping[str, str]) -> int:
    """Which way cars may drive: 1 along the way, -1 against it, 0 both.

    Roundabouts and motorways are one-way unless tagged otherwise. `reversible` and
    `alternating` roads carry both directions at some hour and count as two-way.
    """
    value = tags.get("oneway:motorcar", tags.get("oneway:motor_vehicle", tags.get("oneway", ""))).lower()
    if value in ("yes", "true", "1"):
        return 1
    if value in ("-1", "reverse"):
        return -1
    if value in ("no", "false", "0", "reversible", "alternating"):
        return 0
    return int(tags.get("junction") in ("roundabout", "circular") or tags.get("highway") == "motorway")


def cars_allowed(tags: Mapping[str, str]) -> bool:
    """Whether an ordinary car may use this way: the most specific access tag decides."""
    if tags.get("area") == "yes" or tags.get("service") == "emergency_access":
        return False
    for key in _ACCESS:
        value = tags.get(key)
        if value is not None:
            # `agricultural;forestry` blocks, `private;customers` does not
            return not all(part.strip() in BLOCKED for part in value.split(";"))
    return True


def barrier_blocks(tags: Mapping[str, str]) -> bool:
    """Whether a barrier node stops cars: bollards do unless tagged open, gates only when private."""
    kind = tags.get("barrier", "")
    for key in _ACCESS:
        if key in tags:
            return kind in BARRIERS_CLOSED | BARRIERS_GATED and tags[key] in BLOCKED
    return kind in BARRIERS_CLOSED


def parse_kw(text: str) -> float | None:
    """Read a power, kW: `22 kW`, `22`, `22kVA`, `3,7 kW`, `22000 W`; the highest of a list.

    Bare numbers of 1,000 and more are watts.

    Examples
    --------
    >>> parse_kw("22 kW"), parse_kw("22"), parse_kw("3700 W"), parse_kw("11;22 kW"), parse_kw("fast")
    (22.0, 22.0, 3.7, 22.0, None)
    """
    best: float | None = None
    for part in re.split(r"[;/|]", text.lower()):
        match = re.search(r"(\d+(?:[.,]\d+)?)\s*(mw|kw|kva|w|va)?\b", part)
        if not match:
            continue
        value = float(match[1].replace(",", "."))
        unit = match[2] or ("w" if value >= 1000 else "kw")
        value *= {"mw": 1000.0, "w": 0.001, "va": 0.001}.get(unit, 1.0)
        if 0.5 <= value <= 1000.0:
            best = value if best is None else max(best, value)
    return best


@dataclass(frozen=True)
class Sockets:
    """Equal connectors of a station; `assumed` has bits 1 kind, 2 count, 4 power for what a default filled."""

    kind: str
    count: int
    kw: float
    assumed: int


def station_sockets(tags: Mapping[str, str], country: str) -> list[Sockets]:
    """Connectors of one charging station, at least one row.

    Reads `socket:<kind>` (a count, `yes`, or a power), `socket:<kind>:output`,
    `:voltage` and `:current`, the station's own `output`, `voltage`, `amperage` and `capacity`.
    """
    table = rules("sockets")
    kinds: dict[str, str] = table["kinds"]
    default_kw: dict[str, float] = {**table["power_kw"], **table["power_kw_country"].get(country, {})}
    tagged: dict[str, None] = {}
    for key in tags:
        part = key.lower().split(":")
        if part[0] == "socket" and len(part) > 1 and part[1] in kinds and tags[key] not in ("no", "0"):
            tagged[key.split(":")[1]] = None
    station_kw = next(
        (kw for k in ("charging_station:output", "output", "maxpower", "power") if (kw := parse_kw(tags.get(k, "")))),
        None,
    )
    capacity = parse_count(tags["capacity"]) if "capacity" in tags else None
    rows: list[Sockets] = []
    for name in tagged:
        value = tags.get(f"socket:{name}", "")
        power = parse_kw(value) if re.search(r"\d\s*(kw|kva|w)\b", value.lower()) else None
        count = None if power else parse_count(value)
        kw = parse_kw(tags.get(f"socket:{name}:output", "")) or power or _volt_ampere_kw(tags, name) or station_kw
        assumed = 0
        if count is None:
            # one kind only: the station's capacity tells how many
            count = capacity if capacity and len(tagged) == 1 else 1
            assumed |= 0 if capacity and len(tagged) == 1 else 2
        kind = kinds[name.lower()]
        if kw is None:
            kw, assumed = default_kw[kind], assumed | 4
        rows.append(Sockets(kind, count, kw, assumed))
    if not rows:
        unknown = table["unknown"].get(country, table["unknown"][""])
        kind, assumed = str(unknown["kind"]), 1 | (0 if capacity else 2)
        kw = station_kw or _volt_ampere_kw(tags, "")
        rows.append(
            Sockets(kind, capacity or int(unknown["count"]), kw or default_kw[kind], assumed | (0 if kw else 4))
        )
    return sorted(rows, key=lambda row: SOCKET_KINDS.index(row.kind))


def _volt_ampere_kw(tags: Mapping[str, str], name: str) -> float | None:
    current = tags.get(f"socket:{name}:current") or tags.get("amperage") or tags.get("current") or ""
    voltage = tags.get(f"socket:{name}:voltage") or tags.get("voltage") or ""
    ampere, volt = _NUMBER.search(current), _NUMBER.search(voltage)
    if not ampere or not volt:
        return None
    volts = float(volt[0].replace(",", "."))
    phases = math.sqrt(3) if 380 <= volts <= 420 and "chademo" not in name and "combo" not in name else 1.0
    kw = volts * float(ampere[0].replace(",", ".")) * phases / 1000
    return kw if 0.5 <= kw <= 1000.0 else None


def left_hand(country: str) -> bool:
    """Whether traffic keeps left in this country (ISO 3166 alpha-2)."""
    return country in rules("countries")["left_hand"]
