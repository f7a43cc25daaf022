"""A stand-in for the world with tables that are known exactly, to try what runs do with any world.

Cars in a row: car i drives i + 1 km, a quarter of it assisted; every third car is electric and charges once at its own
site, 6 kW at the meter from hour i % 20 for one hour; every second car is connected and sends 1,000 (i + 1) bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from maps.network import CityMap
from maps.toy import toy_city
from runs.scenario import Scenario
from twin.events import Column, Table

HOUR = 3600.0


class FakeWorld:
    def __init__(self, city: CityMap, scenario: Scenario) -> None:
        self.city, self.scenario = city, scenario
        self.cars = scenario.fleet.cars
        self.now_ms = 0
        self.phase_s = {"move": 0.25}
        self.stuck = 0
        self.residual: dict[str, int] = {"cars": 0, "joules": 0}
        self.power_kw = 6.0
        self.charging = None  # no feeders
        self.finished = 0
        self.tick_wall_s = 0.0
        self.at_tick: Callable[[int], None] = lambda tick: None

    @property
    def done(self) -> bool:
        return self.now_ms >= self.scenario.until_s * 1000

    def status(self) -> dict[str, int]:
        return {"driving": 3, "waiting": 0, "charging": 1, "queued": 0, "stuck": self.stuck}

    def finish(self) -> None:
        self.finished += 1

    def ledger(self) -> dict[str, int]:
        return self.residual

    def sites(self) -> dict[str, Any]:
        n = len(self._electric())
        return {
            "site_id": np.arange(n),
            "kind": ["home"] * n,
            "name": [""] * n,
            "x": np.arange(n) * 10.0,
            "y": np.zeros(n),
            "feeder_id": np.zeros(n, int),
            "sockets": np.ones(n, int),
            "kw": np.full(n, 6.0),
        }

    def _electric(self) -> np.ndarray:
        return np.arange(0, self.cars, 3)

    def _charged(self) -> np.ndarray:
        """Electric cars whose hour of charging lies in the simulated time."""
        electric = self._electric()
        return np.flatnonzero((electric % 20 + 1) * HOUR <= self.now_ms / 1000)

    def tables(self) -> list[Table]:
        car = np.arange(self.cars)
        cars = Table(
            "cars",
            {
                "car_id": Column("i4", "", "row of the car"),
                "connected": Column("bool", "", "sends"),
                "model": Column("str", "", "model"),
                "km": Column("f8", "km", "driven"),
                "engaged_km": Column("f8", "km", "assisted"),
                "generated_bytes": Column("i8", "B", "produced"),
                "soc_end": Column("f8", "", "charge; null without battery"),
            },
        )
        cars.append(
            car_id=car,
            connected=car % 2 == 0,
            model=[f"Leaf {i % 3} é" for i in car],
            km=car + 1.0,
            engaged_km=(car + 1) / 4,
            generated_bytes=np.where(car % 2 == 0, 1000 * (car + 1), 0),
            soc_end=np.where(car % 3 == 0, 0.5, np.nan),
        )
        sessions = Table(
            "sessions",
            {
                "session_id": Column("i8", "", "serial"),
                "car_id": Column("i4", "", "car"),
                "site_id": Column("i4", "", "site"),
                "plugged_s": Column("f8", "s", "plugged"),
                "done_s": Column("f8", "s", "last current"),
                "unplugged_s": Column("f8", "s", "free again"),
                "meter_kwh": Column("f8", "kWh", "at the meter"),
            },
        )
        site = self._charged()
        begin = self._electric()[site] % 20 * HOUR
        sessions.append(
            session_id=np.arange(len(site)),
            car_id=self._electric()[site],
            site_id=site,
            plugged_s=begin,
            done_s=begin + HOUR,
            unplugged_s=np.full(len(site), np.nan),
            meter_kwh=np.full(len(site), self.power_kw),
        )
        load = Table(
            "grid_load",
            {
                "time_s": Column("f8", "s", "start of interval"),
                "site_id": Column("i4", "", "site"),
                "feeder_id": Column("i4", "", "feeder"),
                "kind": Column("str", "", "kind"),
                "power_kw": Column("f8", "kW", "mean power"),
            },
        )
        for quarter in range(4):
            load.append(
                time_s=begin + quarter * 900,
                site_id=site,
                feeder_id=np.zeros(len(site)),
                kind=["home"] * len(site),
                power_kw=np.full(len(site), self.power_kw),
            )
        trips = Table("trips", {"trip_id": Column("i8", "", "serial")})
        return [cars, trips, sessions, load]

    def load_by_hour_kw(self) -> np.ndarray:
        return np.bincount(self._electric()[self._charged()] % 20, minlength=24) * self.power_kw

    def summary(self) -> dict[str, Any]:
        km = sum(range(1, self.cars + 1))
        sent = sum(1000 * (i + 1) for i in range(0, self.cars, 2))
        connected, days = len(range(0, self.cars, 2)), self.now_ms / 86_400_000
        load = self.load_by_hour_kw()
        return {
            "fleet": {
                "cars": self.cars,
                "trips": 100,
                "arrived": 100 - self.stuck,
                "stuck": self.stuck,
                "driving_km": float(km),
            },
            "grid": {
                "energy_kwh": float(self.power_kw * len(self._charged())),
                "peak_kw": float(load.max()),
                "peak_time_s": float(load.argmax() * HOUR),
                "coincidence": 0.5,
            },
            "autonomy": {"share": 0.25, "engaged_km": km / 4, "equipped_share": 0.4, "by_road_class": {}},
            "cloud": {
                "generated_bytes": sent,
                "delivered_bytes": sent,
                "buffered_bytes": 0,
                "dropped_bytes": 0,
                "peak_bytes_per_s": 1.0,
                "mb_per_connected_car_day": sent / 1e6 / connected / days if days else 0.0,
            },
            "ota": {"campaigns": 1, "installed": 2, "failed": 0, "bytes": 300},
            "fuel": {"litres": 1.0, "co2_kg": 2.3},
            "queue": {"sessions": 5, "waited": 1, "mean_wait_s": 12.0, "mean_wait_of_waiting_s": 60.0, "balked": 0},
        }


class FakeTwin:
    def __init__(self, city: CityMap, scenario: Scenario) -> None:
        self.world = FakeWorld(city, scenario)
        self.steps = 0

    def step(self) -> None:
        self.world.at_tick(self.steps)
        time.sleep(self.world.tick_wall_s)
        self.steps += 1
        self.world.now_ms = min(self.world.now_ms + 60_000, self.world.scenario.until_s * 1000)


_CITY: list[CityMap] = []


def city() -> CityMap:
    if not _CITY:
        _CITY.append(toy_city(4))
    return _CITY[0]


def install(patch: Any, change: Callable[[FakeWorld], None] = lambda world: None) -> None:
    """Let scenarios build the stand-in; `change` may spoil it."""

    def build_on(self: Scenario, on: CityMap) -> FakeTwin:
        twin = FakeTwin(on, self)
        change(twin.world)
        return twin

    patch.setattr(Scenario, "city", lambda self, say=None: city())
    patch.setattr(Scenario, "build_on", build_on)
    # the stand-in is no model of ours, so nothing could save it
    patch.setattr("runs.single._build", lambda scenario, on, *_, **__: (scenario.build_on(on), None))
