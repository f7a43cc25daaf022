"""Targets of driver assistance, measured on the motorway-rich scenario `motorway`.

The scenario is simulated once; each target runs driver assistance again over its trips for
the kind of car that was studied.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from twin.autonomy.journal import Journal
from twin.autonomy.propilot import Autonomy
from twin.autonomy.rules import LEVELS
from twin.settings import AutonomySettings

SCENARIO = "motorway"
DATA = "osm/columbus_oh.osm.pbf"
_STUDY_WEEKS = (0.5, 1.5, 2.5, 3.5)
"""Middles of the four weeks that each driver of the IIHS and MIT study had the car."""


@cache
def journal() -> tuple[Journal, AutonomySettings]:
    """The trips of the scenario, and its settings."""
    from runs.scenario import Scenario

    scenario = Scenario.load(SCENARIO)
    twin = scenario.build()
    kept = Journal(twin.world.autonomy)
    while not twin.world.done:
        twin.step()
    return kept, scenario.autonomy


def studied(level: str, **knobs: Any) -> Autonomy:
    """The scenario's trips with every equipped car of one level."""
    kept, settings = journal()
    return kept.again(settings.model_copy(update={"level": level, **knobs}))


def freeway_share(autonomy: Autonomy) -> float:
    """Engaged over all km of equipped cars on motorways, without ramps."""
    table = autonomy.table
    here = (table["road_class"] == "motorway") & (table["propilot_level"] != LEVELS[0])
    km, engaged = (float(table[name][here].astype(np.float64).sum()) for name in ("km", "engaged_km"))
    return engaged / km


def share_on_freeways() -> list[float]:
    """Hands-on cars in the drivers' first four weeks."""
    return [float(np.mean([freeway_share(studied("propilot_1_0", weeks=week)) for week in _STUDY_WEEKS]))]


def km_between_take_overs() -> list[float]:
    """Of hands-on and of hands-off cars; these with a destination set, so that they are hands-off where they may be."""
    found = (studied("propilot_1_0"), studied("propilot_2_0", destination_set=1.0))
    return [float(autonomy.summary()["km_between_takeovers"]) for autonomy in found]


def transfers_per_trip() -> list[float]:
    """Of hands-off cars, on trips on which the system was used."""
    return [float(studied("propilot_2_0", destination_set=1.0).summary()["transfers_per_used_trip"])]


def with_data(
    of: Callable[[], list[float]], check: Callable[[Path | None, str], Path]
) -> Callable[[Path | None], list[float]]:
    """A measure that first asks for the scenario's map data."""

    def values(data: Path | None) -> list[float]:
        check(data, DATA)
        return of()

    return values
