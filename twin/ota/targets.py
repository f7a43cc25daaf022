"""Which cars a campaign is for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twin.fleet.catalogue import Catalogue
from twin.fleet.fleet import Fleet, Kind
from twin.settings import TargetSettings

KINDS = {"bev": Kind.ELECTRIC, "epower": Kind.EPOWER, "combustion": Kind.COMBUSTION}


class TargetError(ValueError):
    """A filter names what the catalogue does not hold; the message is one line."""


def matching(fleet: Fleet, target: TargetSettings, catalogue: Catalogue | None = None) -> NDArray[np.bool_]:
    """Cars that a filter lets through, whether or not they can be updated on air.

    Parameters
    ----------
    fleet : Fleet
    target : TargetSettings
    catalogue : Catalogue, optional
        Needed for models and brands only.

    Raises
    ------
    TargetError
        For an unknown model or brand, naming those there are.
    """
    found = np.ones(fleet.size, bool)
    if target.models or target.brands:
        if catalogue is None:
            raise TargetError("target.models and target.brands need a catalogue")
        rows = np.zeros(len(catalogue.ids), bool)
        for name in target.models:
            rows |= _named(name, catalogue.ids, catalogue.names, "model")
        brands = np.zeros(len(rows), bool) if target.brands else np.ones(len(rows), bool)
        for name in target.brands:
            brands |= _named(name, catalogue.brands, catalogue.brands, "brand")
        found &= ((rows if target.models else True) & brands)[fleet.model]
    if target.powertrains:
        found &= np.isin(fleet.kind, [KINDS[name] for name in target.powertrains])
    if target.propilot:
        found &= np.isin(fleet.propilot, target.propilot)
    if target.generations:
        found &= np.isin(fleet.network_generation, target.generations)
    if target.first_year is not None:
        found &= fleet.year >= target.first_year
    if target.last_year is not None:
        found &= fleet.year <= target.last_year
    return found


def _named(name: str, ids: tuple[str, ...], names: tuple[str, ...], what: str) -> NDArray[np.bool_]:
    rows = np.array([name in (i, n) for i, n in zip(ids, names, strict=True)], bool)
    if not rows.any():
        raise TargetError(f"target.{what}s: unknown {what} {name!r}; valid: {', '.join(sorted(set(ids)))}")
    return rows
