"""Small cities and cars for the charging tests."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from maps.network import SOCKET_KINDS, CityMap
from maps.toy import toy_city
from twin.charging.charging import Charging
from twin.charging.site import SiteKind
from twin.fleet.fleet import Fleet, Kind
from twin.sessions import Sessions
from twin.settings import ChargingSettings, GridSettings

KWH = 3_600_000
LEAF40 = np.interp(np.arange(101), [0, 62, 65, 100], [41.0, 45.0, 36.0, 15.0])


def catalogue(**change: Any) -> SimpleNamespace:
    """Four models: 0 LEAF 40 with CHAdeMO, 1 constant 50 kW with CCS, 2 no fast charging, 3 no plug at all."""
    known = {
        "ac_kw": np.array([6.6, 11.0, 3.0, 0.0]),
        "dc_socket": np.array([SOCKET_KINDS.index("chademo"), SOCKET_KINDS.index("ccs"), -1, -1]),
        "curve_kw": np.stack([LEAF40, np.full(101, 50.0), np.zeros(101), np.zeros(101)]),
    }
    return SimpleNamespace(**(known | change))


def electric_fleet(
    n: int, *, model: int = 0, kwh: float = 39.0, soc: float = 0.5, city: CityMap | None = None
) -> Fleet:
    """Cars of one model that live and work at places of the city in turn."""
    fleet = Fleet(n)
    fleet.kind[:] = Kind.ELECTRIC
    fleet.model[:] = model
    fleet.capacity_j[:] = round(kwh * KWH)
    fleet.battery_j[:] = round(kwh * KWH * soc)
    if city is not None:
        homes, works = city.places("home"), city.places("work")
        fleet.home_place[:] = homes[np.arange(n) % len(homes)]
        fleet.work_place[:] = works[np.arange(n) % len(works)]
        fleet.home_node[:] = city.place_node[fleet.home_place]
        fleet.work_node[:] = city.place_node[fleet.work_place]
    return fleet


def make(
    fleet: Fleet,
    *,
    city: CityMap | None = None,
    models: SimpleNamespace | None = None,
    market: str = "japan",
    interval_min: int = 15,
    start_h: float = 0.0,
    start_weekday: int = 0,
    policy: Any = None,
    policy_name: str = "uncontrolled",
    **settings: Any,
) -> Charging:
    """Charging in the toy city."""
    return Charging(
        city or toy_city(5),
        fleet,
        models or catalogue(),
        ChargingSettings(policy=policy_name, **settings),
        GridSettings(interval_min=interval_min),
        market=market,
        seed=1,
        start_s_of_day=round(start_h * 3600),
        start_weekday=start_weekday,
        sessions=Sessions(),
        policy=policy,
    )


def run(charging: Charging, until_ms: int, *, tick_ms: int = 60_000, revive: bool = False) -> None:
    """Let ticks pass from the queue clock to `until_ms`."""
    import simpy

    while (now := charging.sessions.now_ms) < until_ms:
        t1 = min((now // tick_ms + 1) * tick_ms, until_ms)
        if revive:
            charging.revive(simpy.Environment(initial_time=now))
        charging.flow(now, t1)
        charging.sessions.env.run(until=t1)
        charging.released()


def site_of(charging: Charging, kind: SiteKind) -> int:
    """First site of a kind."""
    return int(charging.sites.rows(kind)[0])


def closed(charging: Charging) -> bool:
    """All residuals are 0."""
    assert charging.ledger() == dict.fromkeys(charging.ledger(), 0)
    return True
