"""Sockets that break and are repaired: each bay of a public site lives its own life in the table of sessions."""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import IntEnum

import numpy as np

from twin.chance import Stream, chance
from twin.charging.queues import Queues
from twin.charging.site import SiteKind, Sites
from twin.sessions import Sessions, Work
from twin.settings import ChargingSettings

HOUR_MS = 3_600_000


class Bay(IntEnum):
    """Where a bay stands in its life; 0 is a free row."""

    WORKS = 1
    BROKEN = 2


class Breakdowns:
    """Bays of public and fast sites; exponential times to failure and to repair.

    Parameters
    ----------
    sites, queues, sessions : Sites, Queues, Sessions
    settings : ChargingSettings
        `failures_per_1000_h` of one bay and its mean `repair_h`.
    seed : int
    cut : callable of a socket
        Told when a bay of the socket has broken; sends one car away if more are plugged than bays work.

    Attributes
    ----------
    socket : ndarray of int32
        Socket group of each session row of kind REPAIR.
    failures : int
    down_ms : int
        Bay time out of order, of repairs that have begun.
    """

    def __init__(
        self,
        sites: Sites,
        queues: Queues,
        sessions: Sessions,
        settings: ChargingSettings,
        *,
        seed: int,
        cut: Callable[[int], None],
    ) -> None:
        self.queues, self.sessions, self.settings, self.seed, self.cut = queues, sessions, settings, seed, cut
        self.socket = np.zeros(0, np.int32)
        self.bay = np.zeros(0, np.int64)
        self.failures, self.down_ms = 0, 0
        sessions.room(Work.REPAIR, self._step, self)
        if not settings.failures_per_1000_h:
            return
        bay = 0
        for socket in np.flatnonzero(sites.site_kind[sites.socket_site] >= SiteKind.PUBLIC).tolist():
            for _ in range(int(sites.socket_count[socket])):
                due = self._time_ms(bay, 0, 1000.0 / settings.failures_per_1000_h)
                row = sessions.open(
                    Work.REPAIR, car=-1, site=int(sites.socket_site[socket]), phase=Bay.WORKS, due=due, asked=0
                )
                self.socket[row], self.bay[row] = socket, bay
                bay += 1

    def grow(self, rows: int) -> None:
        """Have at least `rows` rows, keeping what is there."""
        more = max(rows - len(self.socket), 0)
        self.socket = np.append(self.socket, np.zeros(more, np.int32))
        self.bay = np.append(self.bay, np.zeros(more, np.int64))

    def _time_ms(self, bay: int, now_ms: int, mean_h: float) -> int:
        u = float(chance(self.seed, Stream.BREAKDOWN, bay, now_ms)[0])
        return now_ms + max(1, round(-math.log1p(-u) * mean_h * HOUR_MS))

    def _step(self, row: int) -> None:
        now, socket, bay = self.sessions.now_ms, int(self.socket[row]), int(self.bay[row])
        if self.sessions.phase[row] == Bay.WORKS:
            back = self._time_ms(bay, now, self.settings.repair_h)
            self.failures += 1
            self.down_ms += back - now
            self.queues.resize(socket, 1)
            self.cut(socket)
            self.sessions.arm(row, Bay.BROKEN, back)
        else:
            self.queues.resize(socket, -1)
            self.sessions.arm(row, Bay.WORKS, self._time_ms(bay, now, 1000.0 / self.settings.failures_per_1000_h))
