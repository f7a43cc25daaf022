"""Weather and light by hour of the run: what closes an operating domain for a while."""

from __future__ import annotations

from datetime import datetime, timedelta
from math import asin, cos, degrees, pi, radians, sin
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from twin.autonomy.domain import Conditions
from twin.energy.climate import HOURS, hourly_c
from twin.settings import ClimateSettings


class Weather:
    """Conditions of any hour after the start.

    Parameters
    ----------
    climate : ClimateSettings
        Temperature and precipitation, constant or by hour of the day.
    start : datetime, optional
        Civil time of the run's first second; midnight of an October day when left out.
    timezone : str
        IANA name; the map's meridian stands in for it when empty or unknown.
    latitude_deg, longitude_deg : float
        Where the sun is looked up.
    snow_at_or_below_c : float
        Precipitation at this temperature or below is snow (facts autonomy.weather).

    Examples
    --------
    >>> Weather(ClimateSettings(ambient_c=-5.0, precipitation_mm_h=10.0)).at(0)
    Conditions(precipitation_mm_h=10.0, snow=True, dark=True)
    """

    def __init__(
        self,
        climate: ClimateSettings,
        *,
        start: datetime | None = None,
        timezone: str = "",
        latitude_deg: float = 35.0,
        longitude_deg: float = 135.0,
        snow_at_or_below_c: float = 1.0,
    ) -> None:
        fallen = climate.precipitation_mm_h
        self._mm_h = [float(v) for v in fallen] if isinstance(fallen, list) else [float(fallen)] * HOURS
        self._celsius = hourly_c(climate)
        self._start = start or datetime(2022, 10, 12)
        self._timezone = timezone
        self._latitude, self._longitude = latitude_deg, longitude_deg
        self._snow_c = snow_at_or_below_c

    def at(self, hour: int) -> Conditions:
        """Conditions in the hour of the run, taken at its middle."""
        then = self._start + timedelta(hours=hour + 0.5)
        mm_h = self._mm_h[then.hour]
        snow = mm_h > 0 and float(self._celsius[then.hour]) <= self._snow_c
        return Conditions(mm_h, snow, self.sun_deg(then) < SUNSET_DEG)

    def sun_deg(self, then: datetime) -> float:
        """Height of the sun above the horizon at a civil time, degrees."""
        return sun_deg(self._utc(then), self._latitude, self._longitude)

    def _utc(self, then: datetime) -> datetime:
        try:
            ahead = ZoneInfo(self._timezone).utcoffset(then) if self._timezone else None
        except (ZoneInfoNotFoundError, ValueError):
            ahead = None
        return then - (ahead if ahead is not None else timedelta(hours=self._longitude / 15))


SUNSET_DEG = -0.833
"""Height of the sun's centre at sunset: half its width and refraction."""


def declination_rad(day: int) -> float:
    """Declination of the sun on a day of the year, radians; Spencer's series, within half a degree in any year."""
    turn = 2 * pi * (day - 1) / 365
    return (
        0.006918 - 0.399912 * cos(turn) + 0.070257 * sin(turn) - 0.006758 * cos(2 * turn) + 0.000907 * sin(2 * turn)
        - 0.002697 * cos(3 * turn) + 0.00148 * sin(3 * turn)
    )  # fmt: skip


def sun_deg(utc: datetime, latitude_deg: float, longitude_deg: float) -> float:
    """Height of the sun, degrees; within about half a degree.

    Spencer's series for declination and equation of time (Duffie and Beckman, "Solar
    Engineering of Thermal Processes", 1.5 and 1.6).

    Examples
    --------
    >>> round(sun_deg(datetime(2022, 3, 21, 12, 7), 0.0, 0.0)), round(sun_deg(datetime(2022, 6, 21, 12, 0), 66.0, 0.0))
    (90, 47)
    """
    day = utc.timetuple().tm_yday
    declination = declination_rad(day)
    turn = 2 * pi * (day - 1) / 365
    late_min = 229.18 * (
        0.000075 + 0.001868 * cos(turn) - 0.032077 * sin(turn) - 0.014615 * cos(2 * turn) - 0.04089 * sin(2 * turn)
    )
    solar_h = utc.hour + utc.minute / 60 + utc.second / 3600 + longitude_deg / 15 + late_min / 60
    angle, latitude = pi * (solar_h - 12) / 12, radians(latitude_deg)
    height = sin(latitude) * sin(declination) + cos(latitude) * cos(declination) * cos(angle)
    return degrees(asin(max(-1.0, min(1.0, height))))
