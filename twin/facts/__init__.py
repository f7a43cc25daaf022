"""The numbers of the twin, each with its source and how far it can be trusted.

Every TOML file beside this one is a tree of tables. A table's `source` (ids of
`sources.toml`, joined by `+`) and `confidence` cover its own fields and those of
the tables inside it, unless these say otherwise; fields named in
`recalled_fields` are recollection without a stored source.
"""

from __future__ import annotations

import tomllib
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

CONFIDENCE = ("measured", "official", "press", "derived", "recalled", "assumption")
"""The marks, most reliable first. `assumption` is a knob, not a fact."""


class FactError(ValueError):
    """A fact is asked for that no file holds; the message says what there is."""


@dataclass(frozen=True)
class Fact:
    """One number (or list, or text) with where it is from."""

    value: Any
    source: str
    confidence: str


def names() -> list[str]:
    """Files that can be loaded."""
    return sorted(f.name.removesuffix(".toml") for f in files(__name__).iterdir() if f.name.endswith(".toml"))


@cache
def _read(name: str) -> dict[str, Any]:
    path = files(__name__) / f"{name}.toml"
    if not path.is_file():
        raise FactError(f"no facts called {name!r}; there are {', '.join(names())}")
    return tomllib.loads(path.read_text("utf-8"))


def load(name: str) -> dict[str, Any]:
    """One file of facts as nested dictionaries; a copy, so that a caller may change it.

    Parameters
    ----------
    name : str
        File name without ending, such as "vehicles".

    Raises
    ------
    FactError
        When there is no such file.

    Examples
    --------
    >>> load("vehicles")["physics"]["bev"]["eta_drive"]
    0.94
    """
    return deepcopy(_read(name))


def fact(path: str) -> Fact:
    """One fact with source and confidence, by its dotted path.

    Parameters
    ----------
    path : str
        File, tables and field, such as "vehicles.physics.bev.eta_drive".

    Raises
    ------
    FactError
        When the path leads nowhere; the message lists what is there.

    Examples
    --------
    >>> fact("vehicles.physics.bev.eta_drive")
    Fact(value=0.94, source='CALC+EPA22+FASTSIM', confidence='derived')
    """
    file, *steps = path.split(".")
    here: Any = _read(file)
    source, confidence = "", ""
    for depth, step in enumerate(steps):
        if not isinstance(here, dict) or step not in here:
            there = ", ".join(here) if isinstance(here, dict) else "a value"
            raise FactError(f"no fact {path!r}: {'.'.join([file, *steps[:depth]])} holds {there}")
        if step in here.get("recalled_fields", ()):
            source, confidence, here = here.get("source", source), "recalled", here[step]
            continue
        source, confidence = here.get("source", source), here.get("confidence", confidence)
        here = here[step]
    if isinstance(here, dict):
        source, confidence = here.get("source", source), here.get("confidence", confidence)
    return Fact(deepcopy(here), source, confidence)
