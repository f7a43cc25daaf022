"""What engaged cars do to the rest of the world: following gap, speed, energy.

The traffic engine takes headway and free travel time per vehicle (`Streets.follow`), the
energy room whether a car is driven steadily. A car's state at the end of a tick holds for
the next one. Numbers: facts `autonomy.effects`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from twin import facts
from twin.autonomy.rules import LEVELS, RulesError
from twin.chance import Stream, chance
from twin.fleet.fleet import Fleet
from twin.settings import AutonomySettings


class Changed(NamedTuple):
    """Cars whose following changed since the last call, with headway and time relative to a driver's."""

    cars: NDArray[np.int64]
    gap: NDArray[np.float64]
    pace: NDArray[np.float64]


def headway_factor(time_gap_s: NDArray[np.float64], effects: Mapping[str, Any]) -> NDArray[np.float64]:
    """Headway of an engaged car over a driver's, from the time gaps of both.

    Headway is time gap plus the time that a standing car's length of road takes. Followers of
    a string-unstable system need more of it, since disturbances grow (facts
    `autonomy.effects.string_instability`).

    Examples
    --------
    >>> same = {"manual_time_gap_s": 1.5, "string_instability": 1.0, "standstill_m": 7.5, "at_kmh": 100}
    >>> headway_factor(np.array([1.5]), same).tolist()
    [1.0]
    """
    car_s = float(effects["standstill_m"]) / (float(effects["at_kmh"]) / 3.6)
    manual = float(effects["manual_time_gap_s"]) + car_s
    factor: NDArray[np.float64] = (time_gap_s + car_s) / manual * float(effects["string_instability"])
    return factor


class Effects:
    """Following gap, pace and steadiness of each car while engaged.

    Parameters
    ----------
    fleet : Fleet
    settings : AutonomySettings
        `affects_headway`, `affects_speed`, `affects_energy`: off leaves that part of the world alone.
    table : mapping
        As `load_rules` gives it.
    seed : int

    Attributes
    ----------
    gap : ndarray of float64, shape (n_cars,)
        Headway factor while engaged.
    saving : float
        Share of the energy at the wheel that an engaged car saves.
    """

    def __init__(self, fleet: Fleet, settings: AutonomySettings, table: Mapping[str, Any], *, seed: int) -> None:
        effects = table["effects"]
        gaps, shares = np.array(effects["time_gap_s"], float), np.array(effects["time_gap_share"], float)
        if len(gaps) != len(shares) or abs(shares.sum() - 1) > 1e-6 or np.any(shares < 0) or np.any(gaps <= 0):
            raise RulesError("autonomy.effects: time_gap_s must be positive and time_gap_share sum to 1, one per gap")
        saving = float(effects["motorway_energy_saving"])
        if not -1 < saving < 1:
            raise RulesError(f"autonomy.effects: motorway_energy_saving is {saving:g}, must lie between -1 and 1")
        self.fleet = fleet
        self.saving = saving if settings.affects_energy else 0.0
        self.gap = np.ones(fleet.size)
        if settings.affects_headway:
            u = chance(seed, Stream.TIME_GAP, np.arange(fleet.size))
            chosen = np.searchsorted(np.cumsum(shares)[:-1], u, side="right")
            self.gap = headway_factor(gaps[chosen], effects)
        # drivers stay this far below the limit on an empty expressway; the system holds it
        below = float(facts.load("behaviour")["speed_factor"]["expressway"])
        self._pace = np.array([below if name in effects["holds_the_limit"] else 1.0 for name in LEVELS])
        if not settings.affects_speed:
            self._pace[:] = 1.0
        self.steady = np.zeros(fleet.size, np.uint8)
        """1 for cars that were engaged when `changed` was last called; part of the state to be saved."""

    def changed(self, engaged: NDArray[np.bool_]) -> Changed:
        """Cars that went on or off since the last call."""
        cars = np.flatnonzero(engaged != self.steady.view(np.bool_))
        on = engaged[cars]
        self.steady[cars] = on
        gap = np.where(on, self.gap[cars], 1.0)
        pace = np.where(on, self._pace[self.fleet.propilot[cars]], 1.0)
        return Changed(cars, gap, pace)
