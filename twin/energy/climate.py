"""Weather that cars feel: outside temperature, cabin power, stiffer tyres and drivelines and denser air in the cold."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twin.facts import load
from twin.fleet.catalogue import HVAC_PROFILES
from twin.settings import ClimateSettings

_HOUR_MS = 3_600_000
HOURS = 24


class ClimateError(ValueError):
    """A temperature series cannot be used; one line saying what is valid."""


def hourly_c(settings: ClimateSettings) -> NDArray[np.float64]:
    """Outside temperature by hour from the midnight before the start, °C; it begins again after the last one.

    Shape (24,), or (24 n,) for a series of n days.

    Raises
    ------
    ClimateError
        When a list does not have one value per hour, or has gaps.
    """
    value = settings.ambient_c
    if not isinstance(value, list):
        return np.full(HOURS, float(value))
    if not value or len(value) % HOURS:
        raise ClimateError(f"climate.ambient_c has {len(value)} values; valid: one number, or {HOURS}, one per hour")
    series = np.array(value, float)
    if not np.isfinite(series).all():
        raise ClimateError(f"climate.ambient_c has a gap at hour {int(np.flatnonzero(~np.isfinite(series))[0])}")
    return series


def ambient_c(settings: ClimateSettings, t_ms: int, *, start_s_of_day: int = 0) -> float:
    """Outside temperature at a moment, °C; constant within an hour of the day.

    Examples
    --------
    >>> ambient_c(ClimateSettings(ambient_c=[float(h) for h in range(24)]), 90 * 60_000)
    1.0
    """
    series = hourly_c(settings)
    return float(series[hour_of_day(t_ms, start_s_of_day, hours=len(series))])


def hour_of_day(t_ms: int, start_s_of_day: int, *, hours: int = HOURS) -> int:
    """Hour of the day at `t_ms` after a start `start_s_of_day` seconds past midnight; row of a series of `hours`."""
    return (t_ms + 1000 * start_s_of_day) // _HOUR_MS % hours


def out_of_reach(ambient: ArrayLike) -> NDArray[np.float64]:
    """Share of a battery's energy that the cold keeps from the car (fact energy.cold_battery).

    Nothing is lost: what is out of reach stays in the battery and is there again when it is warm.

    Examples
    --------
    >>> out_of_reach([20.0, -10.0]).round(2).tolist()
    [0.0, 0.11]
    """
    known = load("energy")["cold_battery"]
    share: NDArray[np.float64] = 1.0 - np.interp(
        np.atleast_1d(np.asarray(ambient, float)), known["ambient_c"], known["usable"]
    )
    return share


def typical_year_c(market: str, months: ArrayLike, hours: ArrayLike) -> NDArray[np.float64]:
    """Temperature of a market's typical year by month (1 to 12) and hour of the day, °C.

    Half a day's range above the month's mean at 15 o'clock and below it at 3, a cosine between (fact
    energy.typical_year).
    """
    known = load("energy")["typical_year"][market]
    month = np.asarray(months, int) - 1
    swing = np.cos(2.0 * np.pi * (np.asarray(hours, float) - 15.0) / 24.0)
    mean, half = np.array(known["mean_c"], float)[month], 0.5 * np.array(known["daily_range_c"], float)[month]
    return np.asarray(mean + half * swing, float)


@cache
def _cabin_table() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    facts = load("vehicles")["physics"]["hvac"]
    return np.array(facts["ambient_c"], float), 1000.0 * np.array([facts[f"{name}_kw"] for name in HVAC_PROFILES])


def cabin_w(profile: int, ambient: ArrayLike) -> NDArray[np.float64]:
    """Electric power that keeps the cabin comfortable, W (steady state; fact vehicles.physics.hvac).

    Parameters
    ----------
    profile : int
        Row of HVAC_PROFILES.
    ambient : float or array
        Outside temperature, °C; beyond -20 and 40 °C as at the ends.
    """
    celsius, watts = _cabin_table()
    return np.atleast_1d(np.interp(np.asarray(ambient, float), celsius, watts[profile]))


def driveline_loss(ambient: ArrayLike) -> NDArray[np.float64]:
    """Factor on traction energy in the cold: 1 when mild, 1.10 at -7 °C, linear between and below.

    Facts vehicles.physics.cold (measured at -7 °C) and energy.cold (where it begins).
    """
    mild = float(load("energy")["cold"]["driveline_loss_starts_c"])
    at_minus7 = load("vehicles")["physics"]["cold"]["driveline_loss_increase_pct_at_minus7c"] / 100.0
    below: NDArray[np.float64] = np.maximum(0.0, mild - np.atleast_1d(np.asarray(ambient, float)))
    factor: NDArray[np.float64] = 1.0 + at_minus7 * below / (mild + 7.0)
    return factor


class RoadWeather(NamedTuple):
    """Factors on what driving takes at the reference temperature; one entry per temperature."""

    rolling: NDArray[np.float64]  # on the road load's constant and linear terms
    drag: NDArray[np.float64]  # on its square term
    loss: NDArray[np.float64]  # on traction energy


def road_weather(ambient: ArrayLike) -> RoadWeather:
    """Driving outdoors at a temperature, against the 20 °C that road loads are stated for.

    Tyres roll harder in the cold and air is denser: the corrections that coast-downs get
    (fact energy.weather, UN GTR 15), turned round. A chassis dynamometer holds the road load
    whatever the temperature, so test cycles take `driveline_loss` only.

    Parameters
    ----------
    ambient : float or array
        Outside temperature, °C.

    Examples
    --------
    >>> [round(float(factor[0]), 3) for factor in road_weather(-7.0)]
    [1.232, 1.101, 1.1]
    """
    celsius = np.atleast_1d(np.asarray(ambient, float))
    facts = load("energy")["weather"]
    reference = float(facts["reference_c"])
    rolling = 1.0 + facts["rolling_per_k"] * (reference - celsius)
    return RoadWeather(rolling, (reference + 273.15) / (celsius + 273.15), driveline_loss(celsius))


def winter_load_w(ambient: ArrayLike) -> NDArray[np.float64]:
    """Electric power in the cold beside metered heating, W (fact energy.winter_load).

    Blower, screen and seat heating, lights. The table of `cabin_w` was taken from whole
    cars and holds it already: it is added only where heating was measured by itself.
    """
    facts = load("energy")["winter_load"]
    span = facts["starts_c"] - facts["full_c"]
    share = (facts["starts_c"] - np.atleast_1d(np.asarray(ambient, float))) / span
    watts: NDArray[np.float64] = facts["w"] * np.clip(share, 0.0, 1.0)
    return watts
