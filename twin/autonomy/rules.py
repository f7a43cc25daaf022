"""The data of driver assistance: `facts/autonomy.toml`, and what a user's file changes of it.

A user's file (`autonomy.rules`) holds any of the tables `domain`, `domain_case`, `weather`,
`hardware`, `model`, `effects` and the list `release`, in the layout of the facts; a value
given there replaces the one of the facts, the list of releases as a whole.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twin import facts

LEVELS = ("none", "propilot_1_0", "propilot_1_0_navi", "propilot_2_0", "propilot_destination")
"""Values of `fleet.propilot`, by name; the last one comes by a release, no car is built with it."""

NONE, SINGLE_LANE, NAVI_LINK, HANDS_OFF, DESTINATION = range(5)

TABLES = ("domain", "domain_case", "weather", "hardware", "model", "effects", "release")


class RulesError(ValueError):
    """A rule of driver assistance makes no sense; one line: place, what is wrong, what is valid."""


def load_rules(path: Path | str | None = None) -> dict[str, Any]:
    """The facts, changed by a user's file.

    Parameters
    ----------
    path : path, optional
        TOML file in the layout of `facts/autonomy.toml`.

    Raises
    ------
    RulesError
        When the file cannot be read, or holds a table, level or key that does not exist.

    Examples
    --------
    >>> load_rules()["domain"]["propilot_1_0"]["min_radius_m"]
    250
    """
    table = facts.load("autonomy")
    if not path:
        return table
    try:
        given = tomllib.loads(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RulesError(f"{path}: cannot be read as TOML ({error})") from None
    for name, content in given.items():
        if name not in TABLES:
            raise RulesError(f"{path}: unknown table {name!r}; valid: {', '.join(TABLES)}")
        if name == "release":
            table[name] = content
            continue
        if not isinstance(content, dict):
            raise RulesError(f"{path}: {name} must be a table")
        if name in {"domain", "hardware"}:
            for level in content:
                known_level(level, f"{path}: {name}")
        _merge(table[name], content, f"{path}: {name}", free=name in {"domain", "domain_case", "hardware"})
    return table


def known_level(name: object, place: str) -> int:
    """Row of LEVELS of a level that assists.

    Raises
    ------
    RulesError
        For any other name.
    """
    if name not in LEVELS[1:]:
        raise RulesError(f"{place}: unknown level {name!r}; valid: {', '.join(LEVELS[1:])}")
    return LEVELS.index(str(name))


def _merge(into: dict[str, Any], given: Mapping[str, Any], place: str, *, free: bool) -> None:
    for key, value in given.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value, f"{place}.{key}", free=free)
        elif not free and key not in into:
            raise RulesError(f"{place}: unknown key {key!r}; valid: {', '.join(into)}")
        else:
            into[key] = value
