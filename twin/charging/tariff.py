"""What a kilowatt-hour costs at which hour of the day, and what it is that cars and houses see of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from twin import facts

SLOT_MS = 900_000
"""Prices are per quarter of an hour."""
SLOTS = 96
_DAY_MS = SLOTS * SLOT_MS

Band = tuple[float, float, float]
"""From hour, to hour (may pass midnight), price per kWh."""


def default_bands() -> list[Band]:
    """A night tariff (facts charging: tariff.home_tou, the Japanese hours and prices)."""
    known = facts.load("charging")["tariff"]["home_tou"]
    first, last = (float(h) for h in known["tepco_night8_window"].split("-"))
    return [
        (first, last, known["kyuden_night_yen_per_kwh"]),
        (last, first, known["kyuden_weekday_midday_summer_winter"]),
    ]


def day_prices(bands: Sequence[Band]) -> NDArray[np.float64]:
    """Price in each quarter of an hour of the day, shape (96,).

    Raises
    ------
    ValueError
        Naming the hour at which the bands leave a gap or overlap, or the band that is wrong.

    Examples
    --------
    >>> day_prices([(23.0, 7.0, 13.0), (7.0, 23.0, 27.0)])[[0, 28, 92]].tolist()
    [13.0, 27.0, 13.0]
    """
    price = np.full(SLOTS, np.nan)
    for first, last, value in bands:
        begin, end = round(first * 4), round(last * 4)
        if not (0 <= first <= 24 and 0 <= last <= 24) or abs(first * 4 - begin) + abs(last * 4 - end) > 1e-9:
            raise ValueError(f"band from {first:g} to {last:g} h: hours are 0 to 24, in quarters of an hour")
        if not np.isfinite(value):
            raise ValueError(f"band from {first:g} to {last:g} h: the price must be a number, is {value}")
        span = np.arange(begin, end if end > begin else end + SLOTS) % SLOTS
        twice = span[~np.isnan(price[span])]
        if len(twice):
            raise ValueError(f"two prices at {_clock(int(twice[0]))}; bands must not overlap")
        price[span] = value
    gap = np.flatnonzero(np.isnan(price))
    if len(gap):
        raise ValueError(f"no price at {_clock(int(gap[0]))}; bands must cover the whole day")
    return price


def _clock(slot: int) -> str:
    return f"{slot // 4:02d}:{slot % 4 * 15:02d}"


def coming(prices: NDArray[np.float64], of_day_ms: int) -> NDArray[np.float64]:
    """The day's prices turned so that the first is that of the quarter of an hour at `of_day_ms`."""
    return np.roll(prices, -(of_day_ms // SLOT_MS % SLOTS))


def house_kw(of_day_ms: int) -> float:
    """Mean load of a house at a moment of a winter weekday, kW (facts grid: residential_load.japan)."""
    known = facts.load("grid")["residential_load"]["japan"]
    share = known["winter_weekday"]
    return float(known["kwh_per_household_day"] * share[of_day_ms % _DAY_MS // 3_600_000] / sum(share))
