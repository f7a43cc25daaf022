"""A toy twin in which everything waits at once: queues at a charger, a cloud outage, slow ingest, installs, ties."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from maps.network import CityMap
from maps.toy import toy_city
from twin.charging.site import SiteKind
from twin.checkpoint import Snapshot, capture, restore
from twin.fleet.fleet import Kind, State
from twin.model import Twin
from twin.settings import (
    ChargingSettings,
    CloudSettings,
    DemandSettings,
    FleetSettings,
    OtaSettings,
    TrafficSettings,
)

TICK_S = 600
CROWD_EVERY_MS = 3 * 3_600_000


class Crowded(Twin):
    """Sends many cars to one charger in one millisecond, and keeps things of its own as a user's model may."""

    def __init__(self, city: CityMap, **rooms: Any) -> None:
        super().__init__(city, **rooms)
        self.diary: list[Any] = []
        self.sent = 0

    def step(self) -> None:
        world = self.world
        if world.now_ms and world.now_ms % CROWD_EVERY_MS == 0:
            self._crowd()
        self.diary.append((self.steps, self.random.random(), float(self.rng.random())))
        last = self.operator
        last.seen = getattr(last, "seen", 0) + self.sent
        super().step()

    def _crowd(self) -> None:
        fleet, charging = self.world.fleet, self.world.charging
        free = (fleet.state == State.PARKED) & (fleet.kind == Kind.ELECTRIC) & ~self.world.trips.under_way
        free &= self.world.trips.due_ms > self.world.now_ms + 2 * self.world.tick_ms
        cars, site = [], 0
        for public in np.flatnonzero(charging.sites.site_kind >= SiteKind.PUBLIC).tolist():
            fit = [car for car in np.flatnonzero(free).tolist() if charging.choice.sockets(car, public)]
            cars, site = (fit[:9], public) if len(fit) > len(cars) else (cars, site)
        at = self.world.now_ms + 60_000  # all in one millisecond
        leave = np.minimum(self.world.trips.next_due_ms(np.array(cars, np.int64)), self.world.until_ms)
        charging.arrive(cars, [site] * len(cars), at, np.maximum(leave, at + 1), fleet.capacity_j[cars])
        self.sent += len(cars)


def city() -> CityMap:
    return toy_city(4, homes=80)


def crowded(on: CityMap, *, until_s: int = 86_400, bev: float = 0.8, epower: float = 0.1) -> Crowded:
    return Crowded(
        on,
        until_s=until_s,
        fleet=FleetSettings(cars=40, bev=bev, epower=epower, connected=1.0),
        traffic=TrafficSettings(tick_s=TICK_S),
        demand=DemandSettings(other_traffic=0.2, moving=1.0),
        charging=ChargingSettings(home_access=0.3, work_access=0.3, balk_min=1e6, patience_min=45.0),
        # a message takes 15 s, batches come every 150 s: workers end and batches come in the same millisecond
        cloud=CloudSettings(outage=[(8.0, 10.0)], workers=2, worker_messages_per_s=1 / 15),
        ota=OtaSettings(package_mb=20.0, start_h=0.0, group_gap_h=1.0, install_min=20.0),
    )


def digest(snapshot: Snapshot) -> str:
    """Of everything in a snapshot but how long phases took."""
    found = hashlib.sha256(json.dumps(snapshot.tree).encode())
    for array in snapshot.arrays:
        found.update(f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def forget_timing(twin: Twin) -> None:
    twin.world.phase_s = dict.fromkeys(twin.world.phase_s, 0.0)


class Reused:
    """One twin, put back to what it was when built each time it is asked for: building takes longer than running."""

    def __init__(self, twin: Twin) -> None:
        self.twin = twin
        state = capture(twin)
        self._fresh = Snapshot(state.tree, [array.copy() for array in state.arrays], unsaved=state.unsaved)

    def __call__(self) -> Twin:
        restore(self.twin, self._fresh, {})
        return self.twin
