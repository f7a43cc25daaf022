"""Arrivals with prescribed service times through the real charging site, and the exact recursion beside it."""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from maps.network import SOCKET_KINDS
from tests.charging_cases import electric_fleet, make, site_of
from twin.charging.charging import Charging
from twin.charging.site import SiteKind

FOREVER_MIN = 1e8


def station(sockets: int, cars: int, **settings: float) -> tuple[Charging, int]:
    """One fast site with `sockets` CCS plugs of 50 kW; cars take 50 J in every millisecond however full they are."""
    fleet = electric_fleet(cars, model=1, kwh=1e6, soc=0.0)
    endless = {"balk_min": FOREVER_MIN, "patience_min": FOREVER_MIN, "fast_limit_min": FOREVER_MIN}
    charging = make(fleet, home_access=0.0, work_access=0.0, handshake_s=0.0, **(endless | settings))
    site = site_of(charging, SiteKind.FAST)
    group = np.flatnonzero(
        (charging.sites.socket_site == site) & (charging.sites.socket_kind == SOCKET_KINDS.index("ccs"))
    )
    charging.sites.socket_count[group] = sockets
    charging.sites.cap_kw[site] = sockets * 50.0 / charging.efficiency[2]
    return charging, site


def serve(
    charging: Charging,
    site: int,
    arrive_ms: NDArray[np.int64],
    service_ms: NDArray[np.int64],
    *,
    tick_ms: int = 900_000,
) -> dict[str, NDArray[np.generic]]:
    """Send one car per arrival through the site; the session table, in the order asked."""
    end = int(arrive_ms[-1] + service_ms.sum()) + 1
    now, sent, n = 0, 0, len(arrive_ms)
    while now < end and len(charging.table) < n:
        t1 = now + tick_ms
        upto = int(np.searchsorted(arrive_ms, t1))
        rows = np.arange(sent, upto)
        if len(rows):
            charging.arrive(rows, site, arrive_ms[rows], -1, service_ms[rows] * 50)
        sent = upto
        charging.flow(now, t1)
        charging.sessions.env.run(until=t1)
        charging.released()
        now = t1
    table = charging.table.arrays()
    order = np.argsort(table["session_id"])
    return {name: values[order] for name, values in table.items()}


def fifo_waits_ms(arrive_ms: NDArray[np.int64], service_ms: NDArray[np.int64], sockets: int) -> NDArray[np.int64]:
    """Waits in a first-come-first-served queue, by the recursion of Kiefer and Wolfowitz (1955), without events."""
    free = [0] * sockets
    waits = np.empty(len(arrive_ms), np.int64)
    for i, (at, service) in enumerate(zip(arrive_ms.tolist(), service_ms.tolist(), strict=True)):
        begin = max(at, heapq.heappop(free))
        waits[i] = begin - at
        heapq.heappush(free, begin + service)
    return waits
