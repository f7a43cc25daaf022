"""When a car downloads: policies that see a question and give an answer.

The cell-aware one follows Andrade et al., "Managing massive firmware-over-the-air updates for
connected cars in cellular networks" (CarSys 2017): busy cells are avoided as long as the car can
still be expected elsewhere or at another hour.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Moment:
    """What a policy sees, one value per car that could download now.

    Attributes
    ----------
    hour : float
        Of the day.
    load : ndarray of float64
        Share of the car's cell that other people use.
    waited_h : ndarray of float64
        Since the package was offered.
    on_wifi, has_wifi : ndarray of bool
        Stands at its home's Wi-Fi; has one there.
    """

    hour: float
    load: NDArray[np.float64]
    waited_h: NDArray[np.float64]
    on_wifi: NDArray[np.bool_]
    has_wifi: NDArray[np.bool_]


@dataclass(frozen=True)
class Limits:
    """Knobs of the policies (`CampaignSettings`)."""

    patience_h: float
    busy_load: float
    night: tuple[float, float]


def now(moment: Moment, limits: Limits) -> NDArray[np.bool_]:
    """Take whatever there is."""
    del limits
    return np.ones(len(moment.load), bool)


def night(moment: Moment, limits: Limits) -> NDArray[np.bool_]:
    """Download at night only; a car that waited long enough at any hour."""
    first, last = limits.night
    dark = first <= moment.hour < last if first <= last else moment.hour >= first or moment.hour < last
    return np.full(len(moment.load), dark) | (moment.waited_h >= limits.patience_h)


def cell_aware(moment: Moment, limits: Limits) -> NDArray[np.bool_]:
    """Leave busy cells alone; a car that waited long enough takes any."""
    free: NDArray[np.bool_] = (moment.load < limits.busy_load) | moment.on_wifi
    return free | (moment.waited_h >= limits.patience_h)


def wifi_first(moment: Moment, limits: Limits) -> NDArray[np.bool_]:
    """Wait for the Wi-Fi at home; without one, or after the patience, by the mobile network."""
    return moment.on_wifi | ~moment.has_wifi | (moment.waited_h >= limits.patience_h)


POLICIES: Mapping[str, Callable[[Moment, Limits], NDArray[np.bool_]]] = {
    "now": now,
    "night": night,
    "cell_aware": cell_aware,
    "wifi_first": wifi_first,
}
