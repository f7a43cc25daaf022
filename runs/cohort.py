"""A cohort of electric cars that lives for weeks; what a published trial measured is read off its sessions.

It is driven by the demand room, plugged in by the drivers' own rule, charged by the real charging room. There are no
streets: a trip takes its distance at a mean speed. Everything else is the twin's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maps.network import CityMap
from maps.toy import toy_city
from twin.agents import ElectricCar
from twin.chance import Stream, chance
from twin.charging.charging import Charging
from twin.charging.site import SITE_KINDS
from twin.choices import plug_in_question
from twin.demand.days import Demand
from twin.energy.drive import Drive
from twin.fleet.catalogue import Catalogue, Param
from twin.fleet.fleet import Fleet, Kind
from twin.history import SITE_FROM, SITE_TO
from twin.sessions import Sessions
from twin.settings import ChargingSettings, ClimateSettings, DemandSettings, GridSettings
from twin.world import DAY_MS, SHORTEST_STAY_MS

MONDAY = datetime(2022, 10, 10)
TICK_MS = 10 * 60_000
SETTLE_DAYS = 4
"""Days before anything is counted, so that no battery is where it was put."""
NEAR_M, NEAR_MPS, FAR_MPS = 4000.0, 8.0, 20.0
"""A trip's first metres are in town, the rest on faster roads: 11 km take 14 minutes, as in the NHTS (assumption)."""
_NEVER = np.iinfo(np.int64).max


def seconds(metres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Duration of trips by their length, s."""
    return np.asarray(np.minimum(metres, NEAR_M) / NEAR_MPS + np.maximum(metres - NEAR_M, 0.0) / FAR_MPS)


def drivers(
    market: str, cars: int, *, seed: int, start: datetime, moving: float | None = None
) -> tuple[CityMap, Fleet, Demand]:
    """Cars of a market in a toy town with approach roads; a tenth do not work, a fifth work outside."""
    city = toy_city(24, length_m=300, homes=1500, rings_km=(2.0, 5.0, 10.0, 20.0, 40.0))
    fleet = Fleet(cars)
    rows = np.arange(cars)

    def any_of(nodes: NDArray[np.int32], tick: int) -> NDArray[np.int32]:
        u = chance(seed, Stream.HOME if tick == 0 else Stream.WORK, rows, tick)
        return np.asarray(nodes[(u * len(nodes)).astype(np.int64)])

    fleet.home_node[:] = any_of(city.place_node[city.places("home")], 0)
    inside = any_of(city.place_node[city.places("work")], 1)
    outside = any_of(city.outside_node[city.outside_km <= 20], 2)
    kind = chance(seed, Stream.WORK, rows, 3)
    fleet.work_node[:] = np.select([kind < 0.1, kind < 0.1 + 0.9 * 0.2], [-1, outside], inside)
    return city, fleet, Demand(city, fleet, DemandSettings(moving=moving), market=market, seed=seed, start=start)


@dataclass(frozen=True, eq=False)
class Weeks:
    """What a cohort did in its counted days.

    Attributes
    ----------
    cars, days : int
    driven : int
        Car days with a trip.
    elsewhere : int
        Charges at sites of others, when the battery was nearly empty.
    elsewhere_kwh : float
        Energy of those, at the battery.
    sessions : dict of ndarray
        Columns of `sessions.parquet` for sessions asked in those days, times in seconds since the first counted
        midnight; `stay_s` is the time plugged in.
    load_kw : ndarray of float64, shape (days * 96,)
        Metered power of all cars in every quarter of an hour.
    """

    cars: int
    days: int
    driven: int
    elsewhere: int
    elsewhere_kwh: float
    sessions: dict[str, NDArray[Any]]
    load_kw: NDArray[np.float64]

    def at(self, kind: str) -> NDArray[np.bool_]:
        """Sessions at a kind of site."""
        return np.asarray(self.sessions["kind"] == kind)


@cache
def weeks(
    market: str,
    models: tuple[str, ...],
    *,
    cars: int = 800,
    days: int = 14,
    seed: int = 5,
    ambient_c: float = 15.0,
    moving: float | None = None,
    km_scale: float = 1.0,
    **knobs: Any,
) -> Weeks:
    """Let cars of a market live for some weeks.

    Parameters
    ----------
    market : {"japan", "europe", "us"}
    models : tuple of str
        Dealt out in turn.
    moving : float, optional
        Share of cars that drive on a day; the market's when left out.
    km_scale : float
        Multiplies every distance.
    **knobs
        Charging settings.
    """
    city, fleet, demand = drivers(market, cars, seed=seed, start=MONDAY, moving=moving)
    catalogue = Catalogue.load(market=market)
    fleet.kind[:] = Kind.ELECTRIC
    fleet.model[:] = np.array([catalogue.row(name) for name in models])[np.arange(cars) % len(models)]
    fleet.capacity_j[:] = np.rint(catalogue.matrix[fleet.model, Param.CAPACITY]).astype(np.int64)
    fleet.battery_j[:] = (fleet.capacity_j * (0.4 + 0.5 * chance(seed, Stream.SOC, np.arange(cars)))).astype(np.int64)
    climate = ClimateSettings(ambient_c=ambient_c)
    drive = Drive(fleet, catalogue, city.network, climate, market, start_s_of_day=0)
    charging = Charging(
        city, fleet, catalogue, ChargingSettings(**knobs), GridSettings(interval_min=15),
        market=market, seed=seed, start_s_of_day=0, sessions=Sessions(), climate=climate,
    )  # fmt: skip
    fleet.node[:] = fleet.home_node
    return _Life(fleet, demand, drive, charging, seed, km_scale).live(days)


class _Life:
    """Days of one cohort, tick by tick."""

    def __init__(
        self, fleet: Fleet, demand: Demand, drive: Drive, charging: Charging, seed: int, km_scale: float
    ) -> None:
        self.km_scale = km_scale
        self.fleet, self.demand, self.drive, self.charging, self.seed = fleet, demand, drive, charging, seed
        self.elsewhere: list[int] = []
        self.elsewhere_kwh = 0.0

    def live(self, days: int) -> Weeks:
        whole = SETTLE_DAYS + days
        self._trips(whole + 2)
        for t0 in range(0, whole * DAY_MS, TICK_MS):
            t1 = t0 + TICK_MS
            self._leave(t0, t1)
            self._come(t0, t1)
            self.charging.flow(t0, t1)
            self.charging.sessions.env.run(until=t1)
            self.charging.released()
        self.charging.finish(whole * DAY_MS)
        assert not any(self.charging.ledger().values())
        return self._counted(days)

    def _trips(self, days: int) -> None:
        plans = [self.demand.plan_day(day) for day in range(days)]
        self.car = np.concatenate([p.car for p in plans]).astype(np.int64)
        self.depart = np.concatenate([p.depart_ms for p in plans])
        self.to = np.concatenate([p.to_node for p in plans])
        self.metres = np.concatenate([p.km for p in plans]).astype(float) * 1000.0 * self.km_scale
        order = np.lexsort((self.depart, self.car))
        self.car, self.depart, self.to, self.metres = (
            self.car[order],
            self.depart[order],
            self.to[order],
            self.metres[order],
        )
        same = np.append(self.car[1:] == self.car[:-1], False)
        following = np.where(same, np.append(self.depart[1:], _NEVER), _NEVER)
        arrive = self.depart + np.rint(seconds(self.metres) * 1000).astype(np.int64)
        # a late car leaves as soon as it is there
        self.arrive = np.minimum(arrive, following - 1)
        self.next = np.where(following == _NEVER, self.depart[-1] + 7 * DAY_MS, following)
        self.by_depart, self.by_arrive = np.argsort(self.depart, kind="stable"), np.argsort(self.arrive, kind="stable")
        self.depart_sorted, self.arrive_sorted = self.depart[self.by_depart], self.arrive[self.by_arrive]

    def _leave(self, t0: int, t1: int) -> None:
        first, last = np.searchsorted(self.depart_sorted, [t0, t1])
        rows = self.by_depart[first:last]
        self.charging.depart(self.car[rows], self.depart[rows])

    def _come(self, t0: int, t1: int) -> None:
        first, last = np.searchsorted(self.arrive_sorted, [t0, t1])
        rows = self.by_arrive[first:last]
        if not len(rows):
            return
        fleet, cars = self.fleet, self.car[rows]
        # trips of one car in one tick are all driven; only the last can end at a socket
        used = self.drive.predict_j(cars, self.metres[rows], seconds(self.metres[rows]), at_ms=t0)
        np.subtract.at(fleet.battery_j, cars, used)
        _, latest = np.unique(cars[::-1], return_index=True)
        keep = np.sort(len(rows) - 1 - latest)
        rows, cars = rows[keep], cars[keep]
        fleet.node[cars] = self.to[rows]
        low = cars[fleet.battery_j[cars] < SITE_FROM * fleet.capacity_j[cars]]
        if len(low):
            if t0 >= SETTLE_DAYS * DAY_MS:
                self.elsewhere_kwh += float((SITE_TO * fleet.capacity_j[low] - fleet.battery_j[low]).sum() / 3.6e6)
            fleet.battery_j[low] = np.rint(SITE_TO * fleet.capacity_j[low]).astype(np.int64)
            self.elsewhere += [t0] * len(low)
        self._plug_in(rows, cars, t1)

    def _plug_in(self, rows: NDArray[np.int64], cars: NDArray[np.int64], t1: int) -> None:
        fleet = self.fleet
        home = (fleet.node[cars] == fleet.home_node[cars]) & (fleet.home_site[cars] >= 0)
        work = ~home & (fleet.node[cars] == fleet.work_node[cars]) & (fleet.work_site[cars] >= 0)
        at, leave = self.arrive[rows], self.next[rows]
        some = (home | work) & (leave - at >= SHORTEST_STAY_MS) & (leave >= t1) & (self.charging.car_session[cars] < 0)
        cars, at, leave, home = cars[some], at[some], leave[some], home[some]
        if not len(cars):
            return
        question = plug_in_question(fleet, cars, leave - at, home, at, seed=self.seed)
        yes = np.asarray(ElectricCar.decide(question), bool)
        sites = np.where(home, fleet.home_site[cars], fleet.work_site[cars])
        self.charging.arrive(cars[yes], sites[yes], at[yes], leave[yes], fleet.capacity_j[cars[yes]])

    def _counted(self, days: int) -> Weeks:
        first, last = SETTLE_DAYS * DAY_MS, (SETTLE_DAYS + days) * DAY_MS
        table: dict[str, NDArray[Any]] = dict(self.charging.table.arrays())
        asked = table["asked_s"] * 1000
        keep = (asked >= first) & (asked < last)
        sessions = {name: values[keep] for name, values in table.items()}
        for name in ("asked_s", "plugged_s", "done_s", "unplugged_s"):
            sessions[name] = sessions[name] - first / 1000
        sessions["stay_s"] = sessions["unplugged_s"] - sessions["plugged_s"]
        count = (self.depart >= first) & (self.depart < last)
        driven = len(np.unique(self.car[count] * 1000 + self.depart[count] // DAY_MS))
        load: dict[str, NDArray[Any]] = dict(self.charging.load.table.arrays())
        quarter = np.rint((load["time_s"] - first / 1000) / 900).astype(np.int64)
        inside = (quarter >= 0) & (quarter < days * 96)
        load_kw = np.bincount(quarter[inside], load["power_kw"][inside], days * 96).astype(float)
        assert set(sessions["kind"]) <= set(SITE_KINDS)
        elsewhere = sum(first <= t < last for t in self.elsewhere)
        return Weeks(len(self.fleet), days, driven, elsewhere, self.elsewhere_kwh, sessions, load_kw)
