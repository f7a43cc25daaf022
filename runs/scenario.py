"""What to run: one frozen, hashable description, read from a TOML file or built in Python.

A scenario file has a few top keys (name, map, seed, start, until) and one table per
room of the world; the tables are the classes of `twin.settings`.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, get_args

from pydantic import BaseModel, Field, ValidationError, field_validator

from runs.scenario_file import (
    NotPlainError,
    ScenarioError,
    beside,
    built_in,
    find,
    line_of,
    one_line,
    parse,
    plain,
    value_of,
)
from twin.settings import TwinSettings

if TYPE_CHECKING:
    from maps.network import CityMap
    from twin.model import Twin

__all__ = ["Scenario", "ScenarioError", "built_in", "keys"]

FILES = (
    ("fleet", "models"),
    ("fleet", "case"),
    ("demand", "trips"),
    ("demand", "od"),
    ("demand", "zones"),
    ("demand", "sumo_net"),
    ("demand", "counts"),
    ("climate", "table"),
    ("terrain", "elevation"),
    ("charging", "sites"),
    ("grid", "feeders"),
    ("grid", "base_load"),
    ("autonomy", "rules"),
    ("cloud", "cells"),
)
"""Keys whose values are files, looked for beside the scenario file first; their content is part of the run."""

LONGEST_S = 366 * 86_400
_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DURATION = re.compile(r"(?:\d{1,9}(?:\.\d{1,6})?\s*[dhms]\s*)+")
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([dhms])")


class Scenario(TwinSettings):
    """A frozen description of one run.

    Two scenarios that say the same are equal, hash the same and share `hash8`.

    Examples
    --------
    >>> base = Scenario(map="helsinki")
    >>> late = base.but(charging__policy="timer", seed=2)
    >>> late.charging.policy, late.seed, base.seed
    ('timer', 2, 1)
    >>> base.hash8 == base.but(seed=9).hash8, base.hash8 == late.hash8
    (True, False)
    """

    name: str = Field("unnamed", pattern=r"^\w[\w.-]*$", max_length=48, description="begins the results folder's name")
    map: str = Field(
        min_length=1, description="recipe, place name, or file (.osm.pbf, .osm, .osm.gz, .graphml, .map.npz)"
    )
    seed: int = Field(1, ge=0, le=2**63 - 1, description="of all random draws")
    start: datetime = Field(datetime(2022, 10, 12), description="local civil time of the first second")
    until: str = Field("24h", description="how long: 24h, 90m, 1d, 1h30m, or seconds")

    @field_validator("start")
    @classmethod
    def _local(cls, start: datetime) -> datetime:
        if start.tzinfo is not None:
            raise ValueError("is a local time of the city: leave the zone out")
        if start.microsecond:
            raise ValueError("must be a whole second")
        return start

    @field_validator("until")
    @classmethod
    def _duration(cls, until: str) -> str:
        return _spell(seconds(until))

    @property
    def until_s(self) -> int:
        """Length of the run, s."""
        return seconds(self.until)

    @cached_property
    def _canonical(self) -> str:
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False, allow_nan=False)

    def __hash__(self) -> int:
        return hash(self._canonical)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scenario) and self._canonical == other._canonical

    @property
    def sha256(self) -> str:
        """Hash over everything but name and seed: replications share it."""
        said = {k: v for k, v in json.loads(self._canonical).items() if k not in {"name", "seed"}}
        return hashlib.sha256(json.dumps(said, sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    @property
    def hash8(self) -> str:
        """First eight digits of `sha256`."""
        return self.sha256[:8]

    @property
    def folder_name(self) -> str:
        """Name of the results folder: `<name>-<hash8>-s<seed>`."""
        return f"{self.name}-{self.hash8}-s{self.seed}"

    @classmethod
    def load(cls, name_or_path: str | Path) -> Self:
        """Read a built-in scenario by name, or a TOML file.

        Files named in it (`map`, those of `FILES` and a policy's) are looked for beside the scenario file first.

        Raises
        ------
        ScenarioError
            One line: file, key, what is wrong, what is valid.
        """
        path, text = find(name_or_path)
        place = str(name_or_path)
        raw = parse(text, place)
        raw.setdefault("name", re.sub(r"[^\w.-]+", "-", path.stem).strip("-.")[:48] or "unnamed")
        if "map" in raw:
            raw["map"] = beside(path, raw["map"])
        for room, key in FILES:
            if isinstance(table := raw.get(room), dict) and key in table:
                table[key] = beside(path, table[key])
        if isinstance(charging := raw.get("charging"), dict) and isinstance(policy := charging.get("policy"), str):
            file, colon, function = policy.rpartition(":")
            charging["policy"] = f"{beside(path, file)}:{function}" if colon else policy
        return cls.check(raw, place=place)

    @classmethod
    def check(cls, raw: Mapping[str, Any], *, place: str = "", flags: Mapping[str, str] | None = None) -> Self:
        """Validate nested plain values strictly (no "5" for 5, no true for 1, nothing infinite).

        Parameters
        ----------
        raw : mapping
            As in a scenario file: top keys and one mapping per room.
        place : str
            Begins the error line: the file or option that brought the values.
        flags : mapping of str to str
            Key path to the command-line option that set it, for the error line.

        Raises
        ------
        ScenarioError
        """
        lead = f"{place}: " if place else ""
        try:
            values = plain(raw, "")
            if isinstance(values.get("until"), int | float) and not isinstance(values["until"], bool):
                values["until"] = f"{values['until']}s"
            return cls.model_validate_json(json.dumps(values, allow_nan=False), strict=True)
        except ValidationError as error:
            first = _deepest(error)
            path = ".".join(str(part) for part in first["loc"])
            option = (flags or {}).get(path)
            more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
            raise ScenarioError(f"{lead}{option or path}: {_explain(first)}{more}") from None
        except NotPlainError as error:
            path, _, what = str(error).partition(": ")
            raise ScenarioError(f"{lead}{(flags or {}).get(path, path)}: {what}") from None

    def but(self, **changes: Any) -> Self:
        """Copy with changes; `room__key=value` reaches into a room.

        Raises
        ------
        ScenarioError
        """
        return self.changed({key.replace("__", "."): value for key, value in changes.items()})

    def set(self, *assignments: str) -> Self:
        """Copy with changes spelled as on the command line: `charging.policy=timer`, `climate.ambient_c=-7`.

        The value is read as TOML; what TOML does not know is taken as text.

        Raises
        ------
        ScenarioError
        """
        changes: dict[str, Any] = {}
        for text in assignments:
            key, equals, value = text.partition("=")
            if not equals or not key.strip():
                raise ScenarioError(f"--set {text!r}: must be key=value, such as charging.policy=timer")
            changes[key.strip()] = value_of(value.strip())
        return self.changed(changes, place="--set")

    def changed(self, changes: Mapping[str, Any], *, place: str = "", flags: Mapping[str, str] | None = None) -> Self:
        """Copy with `changes`, a mapping from key path (`charging.policy`) to value.

        Raises
        ------
        ScenarioError
        """
        raw = self.model_dump(mode="json")
        for path, value in changes.items():
            *rooms, key = path.split(".")
            target = raw
            for room in rooms:
                inner = target.setdefault(room, {})
                if not isinstance(inner, dict):
                    raise ScenarioError(f"{place + ': ' if place else ''}{path}: {room} is not a table of the scenario")
                target = inner
            target[key] = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
        return type(self).check(raw, place=place, flags=flags)

    def to_toml(self) -> str:
        """Resolved scenario as TOML: every key with its value and meaning; reads back equal.

        Keys without a value (filled by market and year) stay as comments, since TOML has no null.
        """
        lines: list[str] = []
        tables: list[tuple[str, BaseModel]] = []
        for key, field in type(self).model_fields.items():
            value = getattr(self, key)
            if isinstance(value, BaseModel):
                tables.append((key, value))
            else:
                lines.append(line_of(key, value, field.description))
        for key, table in tables:
            lines += ["", f"[{key}]"]
            lines += [line_of(k, getattr(table, k), f.description) for k, f in type(table).model_fields.items()]
        return "\n".join(lines) + "\n"

    def files(self) -> dict[str, Path]:
        """Files that the scenario names besides its map, by key."""
        policy, _, _ = self.charging.policy.rpartition(":")
        named = {f"{room}.{key}": str(getattr(getattr(self, room), key, "")) for room, key in FILES}
        return {key: Path(name) for key, name in {**named, "charging.policy": policy}.items() if name}

    def build(self) -> Twin:
        """Build map, fleet and world: a `mesa.Model` ready to step."""
        return self.build_on(self.city())

    def city(self, *, say: Callable[[str], None] | None = None) -> CityMap:
        """Build or load the map; `say` is told each step."""
        from maps.build import build_map

        return build_map(self.map, progress=say)

    def build_on(self, city: CityMap) -> Twin:
        """Build the world on a map that is at hand already."""
        from maps.elevation import link_rise, read_elevation
        from runs.cell_file import with_cells
        from runs.demand.counts_file import read_counts
        from runs.demand.given import read_given
        from runs.weather import resolved
        from twin.model import Twin

        city = with_cells(city, self.cloud.cells, self.cloud.holes)
        given = read_given(city, self.demand, cars=self.fleet.cars, start=self.start, seed=self.seed)
        counts = None
        if self.demand.counts:
            counts = read_counts(Path(self.demand.counts), city, snap_m=self.demand.snap_m)
        rise_m = None
        if self.terrain.elevation:
            heights = read_elevation(Path(self.terrain.elevation))
            rise_m, _ = link_rise(city.network, heights, place=self.terrain.elevation)
        rooms = {k: getattr(self, k) for k in type(self).model_fields if isinstance(getattr(self, k), BaseModel)}
        rooms["climate"] = resolved(self.climate, market=self.fleet.market, start=self.start, until_s=self.until_s)
        return Twin(
            city,
            **rooms,
            seed=self.seed,
            start=self.start,
            until_s=self.until_s,
            given=given,
            counts=counts,
            rise_m=rise_m,
        )


def keys() -> Iterator[str]:
    """All key paths of a scenario, in file order.

    Examples
    --------
    >>> "charging.policy" in set(keys())
    True
    """
    for key, field in Scenario.model_fields.items():
        if isinstance(field.default, BaseModel):
            yield from (f"{key}.{inner}" for inner in type(field.default).model_fields)
        else:
            yield key


def seconds(until: str) -> int:
    """Whole seconds of a time such as 24h, 90m, 1h30m or a bare number; ValueError with what is valid."""
    text = until.strip().lower()
    valid = "must be a time such as 24h, 90m, 1d, 1h30m or a number of seconds"
    if re.fullmatch(r"\d{1,9}", text):
        text += "s"
    if not _DURATION.fullmatch(text):
        raise ValueError(valid)
    total = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    if total != int(total) or not 1 <= total <= LONGEST_S:
        raise ValueError(f"{valid}, whole seconds from 1s to 366d")
    return int(total)


def seconds_of(text: str, option: str) -> float:
    """A time such as 7h or 90m in seconds; `option` begins the error line.

    Raises
    ------
    ScenarioError
    """
    try:
        return float(seconds(text))
    except ValueError as error:
        raise ScenarioError(f"{option} {text!r}: {error}") from None


def _spell(seconds: int) -> str:
    for unit, size in (("h", 3_600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _deepest(error: ValidationError) -> dict[str, Any]:
    """First fault; of the branches of "a value or a list", the one that got furthest, without the branch's label."""
    faults: list[dict[str, Any]] = [
        {**fault, "loc": _keys_only(fault["loc"], fault["type"])} for fault in error.errors()
    ]
    # a misspelt key explains most else that is wrong
    faults.sort(key=lambda fault: fault["type"] != "extra_forbidden")
    first = faults[0]["loc"][:2]
    return max((f for f in faults if f["loc"][:2] == first), key=lambda f: len(f["loc"]))


def _keys_only(loc: tuple[int | str, ...], kind: str) -> tuple[int | str, ...]:
    """A fault's place without the labels of branches, which are no keys of any table."""
    tables = [m for name in Scenario.model_fields if (m := _table_of([name])) is not None]
    inner = {
        key for room in tables for name in room.model_fields if (m := _inside(room, name)) for key in m.model_fields
    }
    inner |= {key for room in tables for name in room.model_fields if (m := _inside(room, name)) for n in m.model_fields
              if (t := _inside(m, n)) for key in t.model_fields}  # fmt: skip
    last = len(loc) - 1 if kind == "extra_forbidden" else -1
    return tuple(p for i, p in enumerate(loc) if i < 2 or isinstance(p, int) or p in inner or i == last)


def _inside(table: type[BaseModel], key: str) -> type[BaseModel] | None:
    """The class of the tables that a key holds: itself, or in a list."""
    found = table.model_fields[key].annotation if key in table.model_fields else None
    for part in (found, *get_args(found)):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def _table_of(rooms: list[str]) -> type[BaseModel] | None:
    here: type[BaseModel] | None = Scenario
    for room in rooms:
        here = _inside(here, room) if here is not None else None
    return here


def _explain(error: Mapping[str, Any]) -> str:
    kind, message, given = error["type"], str(error["msg"]), error.get("input")
    *rooms, last = [p for p in error["loc"] if isinstance(p, str)] or [""]
    if kind == "extra_forbidden":
        valid = _valid_keys([str(r) for r in rooms])
        near = difflib.get_close_matches(str(last), valid, 1, cutoff=0.6)
        if not near:  # perhaps the key of another table
            near = [k for k in keys() if k.rpartition(".")[2] == last][:1]
        hint = f'; did you mean "{near[0]}"?' if near else ""
        return f"unknown key{hint} (valid: {', '.join(valid)})"
    if kind == "missing":
        known = Scenario.model_fields.get(str(last)) if not rooms else None
        return f"is missing: {known.description}" if known and known.description else "is missing"
    message = one_line(message.removeprefix("Value error, ").removeprefix("Input should be "))
    if kind == "model_type":
        return "must be a table of keys"
    if kind == "string_pattern_mismatch":
        message = "letters, digits, _ . - only, no slash"
    if kind == "value_error" and isinstance(given, dict | list):
        return message  # it says which of the entries, and what is wrong with it
    said = repr(given) if not isinstance(given, dict | list) else "a table" if isinstance(given, dict) else "a list"
    said = said if len(said) <= 60 else said[:57] + "..."
    return f"{message if message.startswith(('must', 'is ')) else 'must be ' + message}, is {said}"


def _valid_keys(rooms: list[str]) -> list[str]:
    table = _table_of(rooms)
    return list(table.model_fields) if table is not None else []
