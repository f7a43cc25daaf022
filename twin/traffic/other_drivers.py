"""Cars outside the fleet on the streets: rows of the engine, no agents, habitual routes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twin.demand.given import GivenTraffic
from twin.demand.other_traffic import OtherTraffic
from twin.traffic.engine import Streets
from twin.traffic.routing import Router


class OtherDrivers:
    """Sends other traffic onto the streets; trips of one pair share a route until travel times are looked at again.

    Attributes
    ----------
    planned, arrived, unroutable : int
        Trips so far; those under way are what remains.
    """

    def __init__(self, demand: OtherTraffic | GivenTraffic, router: Router, streets: Streets) -> None:
        self.demand = demand
        self._router = router
        self._streets = streets
        self._routes: dict[int, NDArray[np.int32]] = {}
        self.planned = self.arrived = self.unroutable = 0

    @property
    def under_way(self) -> int:
        """Trips on the road or waiting to enter it."""
        return self.planned - self.arrived - self.unroutable

    def forget_routes(self) -> None:
        """Let the next trips look at current travel times."""
        self._routes.clear()

    def depart(self, t0_ms: int, t1_ms: int, cost_ms: NDArray[np.int64]) -> None:
        """Start the trips of [t0, t1) on routes that are cheapest by `cost_ms`."""
        due = self.demand.trips(t0_ms, t1_ms)
        if not len(due.depart_ms):
            return
        pairs = due.pair.tolist()
        unknown = sorted(set(pairs) - self._routes.keys())
        if unknown:
            found = self._router.routes(self.demand.pair_from[unknown], self.demand.pair_to[unknown], cost_ms)
            for i, pair in enumerate(unknown):
                self._routes[pair] = found.links[found.ptr[i] : found.ptr[i + 1]]
        parts = [self._routes[pair] for pair in pairs]
        lengths = np.array([len(part) for part in parts], np.int64)
        go = lengths > 0
        self.planned += len(parts)
        self.unroutable += int((~go).sum())
        if go.any():
            ptr = np.concatenate([[0], np.cumsum(lengths[go])]).astype(np.int64)
            rows = self._streets.rows_for(int(go.sum()))
            self._streets.depart(rows, due.depart_ms[go], ptr, np.concatenate(parts))
