"""The habits of one market, read from the facts: who moves, how often, how far, at what hour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.facts import load

ARCHETYPES = ("commuter", "errand", "leisure")
"""Kinds of car use; `Demand.archetype` indexes this tuple."""

WEEKDAY, WEEKEND = 0, 1


class DemandError(ValueError):
    """Demand cannot be made from these inputs; the message is one line for the user."""


@dataclass(frozen=True)
class Habits:
    """Numbers of one market and one kind of day (weekday or weekend).

    Attributes
    ----------
    moving : float
        Share of cars that drive on such a day.
    trips : float
        Trips per car that drives.
    day_km : float
        Kilometres per car that drives.
    trip_sigma : float
        Log standard deviation of the distance of one journey.
    start_share : ndarray of float64, shape (24,)
        Share of trips that start in each clock hour; sums to 1.
    archetype_share : ndarray of float64, shape (3,)
        Shares of ARCHETYPES among cars; sums to 1.
    odd_share, odd_cum : float, ndarray of float64, shape (24,)
        Share of commuters whose work begins at odd hours; when they set out, cumulative from 3 o'clock on.
    odd_work_h : float
        Hours they work.
    leisure_moves : float
        Probability that a leisure car drives on such a day.
    archetype : mapping
        Facts of the archetypes (departure, hours at work, distances).
    activity : mapping
        Facts of stops: purposes, stays.
    """

    moving: float
    trips: float
    day_km: float
    trip_sigma: float
    start_share: NDArray[np.float64]
    archetype_share: NDArray[np.float64]
    odd_share: float
    odd_cum: NDArray[np.float64]
    odd_work_h: float
    leisure_moves: float
    archetype: dict[str, Any]
    activity: dict[str, Any]

    def moving_by_archetype(self, present: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probability to drive per archetype so that `moving` of all cars drive.

        Leisure cars keep their own probability; the others share what remains. Only where
        the others would have to exceed 1 do leisure cars give way.

        Parameters
        ----------
        present : ndarray of float64, shape (3,)
            Shares of the archetypes in the fleet.
        """
        leisure = float(present[2])
        others = 1.0 - leisure
        own = min(self.leisure_moves, self.moving / leisure) if leisure > 0 else 0.0
        rest = (self.moving - own * leisure) / others if others > 0 else 0.0
        if rest > 1.0 or others <= 0:
            rest = min(rest, 1.0)
            own = (self.moving - rest * others) / leisure
        return np.array([rest, rest, own])


def habits(market: str, *, day_kind: int = WEEKDAY) -> Habits:
    """Habits of a market on a weekday or at the weekend.

    Parameters
    ----------
    market : {"japan", "europe", "us"}
        Whose habits.
    day_kind : int
        WEEKDAY or WEEKEND.

    Raises
    ------
    DemandError
        For a market that the facts do not know.

    Source
    ------
    behaviour.toml (JAMA21, NHTS01, archetypes) and days.toml (SAE12, MID17, JRC12).

    Examples
    --------
    >>> round(habits("us").start_share[17], 3)
    np.float64(0.086)
    """
    facts, extra = load("behaviour"), load("days")
    known = [name for name in ("japan", "europe", "us") if name in extra]
    if market not in known:
        raise DemandError(f"market {market!r} has no habits in the facts; valid: {', '.join(known)}")
    name = ("weekday", "weekend")[day_kind]
    model = dict(extra[market]["day_model"])
    if market == "japan":
        model = {**facts["japan"]["car"]["day_model"], **model}
    by_day = f"trips_per_moving_car_day_{name}"
    trips = model[by_day] if by_day in model else model["trips_per_moving_car_day"]
    if day_kind == WEEKDAY:
        shape = facts[market]["start_time"]["weekday"]
    else:
        whose, which = str(model["weekend_start_time"]).split(".")
        shape = facts[whose]["start_time"][which]
    start_share = np.asarray(shape, np.float64)
    cars = facts["archetypes"]
    shares = np.array([cars[kind][f"share_{market}"] for kind in ARCHETYPES], np.float64)
    work = extra["work_start"]
    odd = np.roll(np.asarray(work["odd_hours"], np.float64), -3)
    return Habits(
        moving=float(model[f"share_of_cars_moving_{name}"]),
        trips=float(trips),
        day_km=float(model[f"moving_day_km_mean_{name}"]),
        trip_sigma=float(model[f"trip_km_sigma_{name}"]),
        start_share=start_share / start_share.sum(),
        archetype_share=shares / shares.sum(),
        odd_share=float(work["odd_share"]),
        odd_cum=np.cumsum(odd / odd.sum()),
        odd_work_h=float(work["odd_work_h"]),
        leisure_moves=float(cars["leisure"][f"{name}_use_prob"]),
        archetype={kind: dict(cars[kind]) for kind in ARCHETYPES},
        activity=dict(extra["activity"]),
    )


def speed_shares(start_share: NDArray[np.float64]) -> tuple[float, float]:
    """Share of the free speed that drivers plan with: in town over a whole day, and on the roads outside.

    In town the mean over trips of the pace in and outside the peak hours. On empty streets the traffic engine
    drives the latter (`twin.traffic.speeds`) and makes the former itself.

    Parameters
    ----------
    start_share : ndarray of float64, shape (24,)
        Share of trips that start in each clock hour.

    Source: behaviour.toml [speed_factor], days.toml [peak].
    """
    shares = load("behaviour")["speed_factor"]
    peak = float(start_share[load("days")["peak"]["hours"]].sum() / start_share.sum())
    town = 1.0 / (peak / shares["urban_peak"] + (1.0 - peak) / shares["urban_offpeak"])
    return float(town), float(shares["rural"])
