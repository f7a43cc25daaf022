"""Small traffic runs shared by the tests: vehicles on given routes, everything recorded."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from maps.network import RoadNetwork
from twin.settings import TrafficSettings
from twin.traffic.engine import Streets
from twin.traffic.right_of_way import RightOfWay
from twin.traffic.signals import SignalPlan
from twin.traffic.traversals import Traversals


class Record(NamedTuple):
    """What happened: one entry per traversal, and arrival times per vehicle (-1 none)."""

    streets: Streets
    car: NDArray[np.int64]
    link: NDArray[np.int64]
    enter_ms: NDArray[np.int64]
    exit_ms: NDArray[np.int64]
    arrive_ms: NDArray[np.int64]

    def exits(self, link: int) -> NDArray[np.int64]:
        return self.exit_ms[self.link == link]


def drive(
    network: RoadNetwork,
    routes: list[ArrayLike],
    depart_s: ArrayLike,
    *,
    until_s: float,
    tick_s: float = 60,
    settings: TrafficSettings | None = None,
    gap: ArrayLike = 1.0,
    size: ArrayLike = 1.0,
    signals: SignalPlan | None = None,
    priority: RightOfWay | None = None,
) -> Record:
    """Drive vehicle i on routes[i] from depart_s[i]."""
    settings = settings or TrafficSettings()
    n = len(routes)
    streets = Streets(network, settings, n, signals=signals, priority=priority)
    ptr = np.concatenate([[0], np.cumsum([len(np.atleast_1d(r)) for r in routes])]).astype(np.int64)
    links = np.concatenate([np.atleast_1d(r) for r in routes]).astype(np.int32)
    at = np.rint(np.asarray(depart_s, float) * 1000).astype(np.int64)
    streets.depart(np.arange(n), at, ptr, links, gap=gap, size=size)
    buffer = Traversals(8)
    parts: dict[str, list[NDArray[np.int64]]] = {c: [] for c in ("car", "link", "enter_ms", "exit_ms")}
    arrive = np.full(n, -1, np.int64)
    t, end = 0, round(until_s * 1000)
    while t < end:
        t = min(end, t + round(tick_s * 1000))
        arrivals = streets.advance(t, buffer)
        arrive[arrivals.vehicle] = arrivals.at_ms
        for name, part in parts.items():
            part.append(getattr(buffer, name)[: buffer.n].astype(np.int64))
        assert streets.census() == streets.on_road + streets.in_source
    return Record(streets, *(np.concatenate(p) for p in parts.values()), arrive)
