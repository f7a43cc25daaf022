"""What driver assistance was told during a run, kept, so that it can be run again with other settings.

The same trips over the same links at the same times, with the same random numbers: only
use, domain, level or equipment differ. What engaged cars do to traffic stays as in the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.autonomy.propilot import Autonomy
from twin.fleet.fleet import Fleet
from twin.settings import AutonomySettings, ClimateSettings
from twin.traffic.traversals import Traversals

_KEPT = ("car", "link", "enter_ms", "exit_ms", "driven_mm")
_WHO = ("model", "driver", "year", "propilot")

Step = Mapping[str, NDArray[Any]]


class Journal:
    """Every call of a run's `Autonomy`, tick by tick; 32 bytes a row.

    Parameters
    ----------
    autonomy : Autonomy
        Of a world that has not begun to move. It is listened to from now on.
    """

    def __init__(self, autonomy: Autonomy) -> None:
        self._of = autonomy
        self._layers: dict[Any, Any] = {}
        self._who = {name: getattr(autonomy.fleet, name).copy() for name in _WHO}
        self._steps: list[tuple[str, Step]] = []
        autonomy.heard = self._hear

    def _hear(self, what: str, **said: Any) -> None:
        if what == "drive":
            rows: Traversals = said["rows"]
            self._steps.append((what, {name: getattr(rows, name)[: rows.n].copy() for name in _KEPT}))
        else:
            self._steps.append((what, {name: np.array(value) for name, value in said.items()}))

    @property
    def rows(self) -> int:
        """Links that were driven."""
        return sum(len(step["car"]) for what, step in self._steps if what == "drive")

    def again(
        self,
        settings: AutonomySettings,
        climate: ClimateSettings | None = None,
        *,
        propilot: NDArray[np.uint8] | None = None,
    ) -> Autonomy:
        """Run driver assistance again over the same trips; returns it finished.

        Parameters
        ----------
        settings : AutonomySettings
        climate : ClimateSettings, optional
            Other weather for assistance alone; the run's when left out.
        propilot : ndarray of uint8, shape (n_cars,), optional
            Other equipment; as at the start of the run when left out.
        """
        of = self._of
        fleet = Fleet(of.fleet.size)
        for name in _WHO:
            getattr(fleet, name)[:] = self._who[name]
        if propilot is not None:
            fleet.propilot[:] = propilot
        made = Autonomy(
            fleet, of.network, settings, climate or of.climate,
            country=of.country, model_names=of.model_names, seed=of.seed, horizon_ms=of.horizon_ms,
            start=of.start, timezone=of.timezone, layers=self._layers, rise_m=of.rise_m,
        )  # fmt: skip
        for what, step in self._steps:
            if what == "drive":
                self._drive(made, step)
            elif what == "begin":
                made.begin_trips(step["cars"], step["serials"], at_ms=step["at_ms"])
            elif what == "advance":
                made.advance(int(step["now_ms"]))
            elif what == "upgrade":
                # with other equipment, those who can take it
                release, cars = str(step["release"]), step["cars"]
                made.upgrade(cars[made.able(release)[cars]], release, at_ms=int(step["at_ms"]))
            elif what == "maps":
                made.refresh_maps(step["cars"], at_ms=int(step["at_ms"]))
            else:
                made.end_trips(step["cars"])
        made.finish()
        return made

    def _drive(self, made: Autonomy, step: Step) -> None:
        rows = Traversals(0)
        rows.n = len(step["car"])
        for name in _KEPT:
            setattr(rows, name, step[name])
        rows.engaged_mm = np.zeros(rows.n, np.int64)
        np.add.at(made.fleet.driven_mm, rows.car, rows.driven_mm)
        made.drive(rows)
