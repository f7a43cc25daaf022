"""The upgrade path of the plan: releases that raise a car's level, each with a date and what it needs.

single_lane → multi_lane (on-ramp to off-ramp, lane changes) → destination (the car proposes
the destination; highways to the end of the exit). Data: `facts/autonomy.toml`, `[[release]]`
and `[hardware]`. A release never adds a sensor: a car that lacks one cannot take it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from twin.autonomy.rules import LEVELS, RulesError, known_level, load_rules

_KEYS = ("name", "date", "gives", "from", "needs", "use_factor", "source", "confidence", "note")


class ReleaseError(RulesError):
    """A release cannot be read, or not be put on a car; one line."""


@dataclass(frozen=True)
class Release:
    """One step of the upgrade path.

    Attributes
    ----------
    name : str
    date : datetime
        First of the month from which it exists.
    gives : int
        Level that a car has after it (row of LEVELS).
    before : tuple of int
        Levels that it can be put on.
    needs : frozenset of str
        Sensors and data of the car.
    use_factor : float
        How much more often drivers use it than the step before.
    """

    name: str
    date: datetime
    gives: int
    before: tuple[int, ...]
    needs: frozenset[str]
    use_factor: float


def releases(table: Mapping[str, Any] | None = None, *, place: str = "facts/autonomy.toml") -> dict[str, Release]:
    """All releases by name, oldest first.

    Raises
    ------
    ReleaseError
        Unknown level, dates out of order, a sensor that no car has, a step that leads nowhere new.

    Examples
    --------
    >>> [f"{r.name} {r.date:%Y-%m}" for r in releases().values()]
    ['single_lane 2016-08', 'multi_lane 2019-09', 'destination 2022-10']
    """
    table = load_rules() if table is None else table
    known = frozenset(s for sensors in _hardware(table).values() for s in sensors)
    made: dict[str, Release] = {}
    last: Release | None = None
    for number, given in enumerate(table["release"], 1):
        where = f"{place}: release {given.get('name', number)!r}" if isinstance(given, dict) else f"{place}: release"
        release = _release(given, where, known)
        if release.name in made:
            raise ReleaseError(f"{where}: the name is used twice")
        if last is not None and release.date < last.date:
            raise ReleaseError(
                f"{where}: dates are out of order, {release.date:%Y-%m} comes before {last.date:%Y-%m} of {last.name!r}"
            )
        made[release.name] = last = release
    return made


def hardware(table: Mapping[str, Any]) -> tuple[frozenset[str], ...]:
    """Sensors and data of a car that was built with each level, in the order of LEVELS."""
    given = _hardware(table)
    return tuple(frozenset(given.get(name, ())) for name in LEVELS)


def lacking(release: Release, sensors: frozenset[str]) -> list[str]:
    """What a car of these sensors lacks for a release, in order of the alphabet."""
    return sorted(release.needs - sensors)


def _hardware(table: Mapping[str, Any]) -> dict[str, list[str]]:
    return {name: value for name, value in table["hardware"].items() if name in LEVELS}


def _release(given: Any, where: str, known: frozenset[str]) -> Release:
    if not isinstance(given, dict):
        raise ReleaseError(f"{where}: must be a table [[release]]")
    unknown, missing = sorted(set(given) - set(_KEYS)), [k for k in _KEYS[:5] if k not in given]
    if unknown or missing:
        what = f"unknown key {unknown[0]!r}" if unknown else f"{missing[0]} is missing"
        raise ReleaseError(f"{where}: {what}; valid: {', '.join(_KEYS)}")
    gives = known_level(given["gives"], f"{where}: gives")
    before = tuple(0 if name == LEVELS[0] else known_level(name, f"{where}: from") for name in given["from"])
    if gives in before:
        raise ReleaseError(f"{where}: gives {given['gives']!r} to cars that have it")
    strange = sorted(set(given["needs"]) - known)
    if strange:
        raise ReleaseError(
            f"{where}: needs {strange[0]!r}, which no level's hardware has; valid: {', '.join(sorted(known))}"
        )
    factor = given.get("use_factor", 1.0)
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 1 <= factor < 100:
        raise ReleaseError(f"{where}: use_factor is {factor!r}, must be a number from 1")
    return Release(
        str(given["name"]), _month(given["date"], where), gives, before, frozenset(given["needs"]), float(factor)
    )


def _month(text: Any, where: str) -> datetime:
    try:
        year, month = (int(part) for part in str(text).split("-"))
        return datetime(year, month, 1)
    except ValueError:
        raise ReleaseError(f"{where}: date is {text!r}, must be a month such as 2019-09") from None
