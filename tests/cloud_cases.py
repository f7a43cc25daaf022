"""Small connected fleets for the tests of cloud and over-the-air updates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import simpy

from maps.network import CityMap
from maps.toy import toy_city
from twin.cloud.cloud import Cloud
from twin.fleet.fleet import Fleet
from twin.settings import CloudSettings
from twin.traffic.traversals import Traversals

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
NOBODY = np.zeros(0, np.int32)


def connected_fleet(city: CityMap, cars: int, *, generation: int = 4) -> Fleet:
    """Parked cars, all connected, spread over the nodes of the map."""
    fleet = Fleet(cars)
    fleet.connected[:] = 1
    fleet.ota[:] = 1
    fleet.network_generation[:] = generation
    fleet.node[:] = np.arange(cars) % city.network.n_nodes
    fleet.home_node[:] = fleet.node
    return fleet


class Talk:
    """A cloud, its fleet and a clock that runs both, as the world does."""

    def __init__(
        self, cars: int = 20, *, seed: int = 3, city: CityMap | None = None, generation: int = 4, **knobs: object
    ) -> None:
        self.city = city or toy_city(5, homes=20)
        self.env = simpy.Environment()
        self.fleet = connected_fleet(self.city, cars, generation=generation)
        self.knobs = knobs
        self.seed = seed
        self.now = 0
        self._cloud: Cloud | None = None

    @property
    def cloud(self) -> Cloud:
        if self._cloud is None:
            self._cloud = Cloud(
                self.city,
                self.fleet,
                CloudSettings(**{"service_class": "bev"} | self.knobs),
                self.env,
                seed=self.seed,
                horizon_ms=DAY,
            )  # type: ignore[arg-type]
        return self._cloud

    def tick(
        self,
        until: int,
        *,
        rows: Sequence[tuple[int, int, int, int]] = (),
        started: Sequence[int] = (),
        ended: Sequence[int] = (),
        plugged: Sequence[int] = (),
        driven_mm: int = 0,
        engaged_mm: int = 0,
    ) -> None:
        """One tick to `until`; rows are (car, link, enter_ms, exit_ms)."""
        cloud = self.cloud
        traversals = Traversals(max(1, len(rows)))
        traversals.n = len(rows)
        for i, (car, link, enter, leave) in enumerate(rows):
            traversals.car[i], traversals.link[i], traversals.enter_ms[i], traversals.exit_ms[i] = (
                car,
                link,
                enter,
                leave,
            )
            traversals.driven_mm[i], traversals.engaged_mm[i] = driven_mm, engaged_mm
        self.env.run(until=until)
        cloud.talk(self.now, until, traversals, *(np.array(a, np.int32) for a in (started, ended, plugged)))
        self.now = until

    def idle(self, until: int, *, tick_ms: int = MINUTE) -> None:
        """Ticks in which nothing moves."""
        while self.now < until:
            self.tick(min(until, self.now + tick_ms))

    def closed(self) -> bool:
        return all(value == 0 for value in self.cloud.ledger().values())

    def column(self, name: str, service: str | None = None) -> int:
        table = self.cloud.table
        values = table[name].astype(np.int64)
        return int(values.sum() if service is None else values[table["service"] == service].sum())
