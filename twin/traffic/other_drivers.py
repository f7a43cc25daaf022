"""Cars outside the fleet on the streets: rows of the engine, no agents, habitual routes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twin.demand.given import GivenTraffic
from twin.demand.other_traffic import OtherTraffic
from twin.traffic.engine import Streets
from twin.traffic.heavy import counts_for
from twin.traffic.informed import InformedDrivers
from twin.traffic.learning import MOST_DAYS
from twin.traffic.route_choice import RouteChoice


class OtherDrivers:
    """Sends other traffic onto the streets; trips of one pair share a route until travel times are looked at again.

    Attributes
    ----------
    planned, arrived, unroutable : int
        Trips so far; those under way are what remains.
    """

    def __init__(
        self,
        demand: OtherTraffic | GivenTraffic,
        choice: RouteChoice,
        streets: Streets,
        informed: InformedDrivers,
        *,
        seed: int,
    ) -> None:
        self.demand = demand
        self._choice = choice
        self._streets = streets
        self._informed = informed
        self._seed = seed
        self._routes: dict[int, NDArray[np.int32]] = {}
        self.planned = self.arrived = self.unroutable = 0

    @property
    def under_way(self) -> int:
        """Trips on the road or waiting to enter it."""
        return self.planned - self.arrived - self.unroutable

    def forget_routes(self) -> None:
        """Let the next trips look at travel times again."""
        self._routes.clear()

    def depart(self, t0_ms: int, t1_ms: int) -> None:
        """Start the trips of [t0, t1) on the routes that their drivers think cheapest."""
        due = self.demand.trips(t0_ms, t1_ms)
        if not len(due.depart_ms):
            return
        driver = self._streets.fleet_size + due.pair.astype(np.int64)
        known = self._choice.known(driver, due.depart_ms)
        keys = due.pair.astype(np.int64) * MOST_DAYS + known
        unknown = np.array(sorted(set(keys.tolist()) - self._routes.keys()), np.int64)
        if len(unknown):
            pair = unknown // MOST_DAYS
            found = self._choice.routes(
                self.demand.pair_from[pair], self.demand.pair_to[pair], unknown % MOST_DAYS, t0_ms
            )
            for i, key in enumerate(unknown.tolist()):
                self._routes[key] = found.links[found.ptr[i] : found.ptr[i + 1]]
        parts = [self._routes[key] for key in keys.tolist()]
        lengths = np.array([len(part) for part in parts], np.int64)
        go = lengths > 0
        self.planned += len(parts)
        self.unroutable += int((~go).sum())
        if go.any():
            ptr = np.concatenate([[0], np.cumsum(lengths[go])]).astype(np.int64)
            rows = self._streets.rows_for(int(go.sum()))
            size = counts_for(self._streets.settings, self._seed, driver[go], due.depart_ms[go])
            self._streets.depart(rows, due.depart_ms[go], ptr, np.concatenate(parts), gap=size, size=size)
            self._informed.begin(rows, driver[go], due.depart_ms[go])
