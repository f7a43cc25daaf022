"""Queues for sockets: one SimPy resource per group of equal sockets, first come first served, and their integrals."""

from __future__ import annotations

import numpy as np
import simpy
from numpy.typing import NDArray
from simpy.resources.resource import Request

from twin import facts
from twin.charging.site import SiteKind, Sites
from twin.sessions import Sessions
from twin.settings import ChargingSettings

PRIOR_STAYS = 10
"""The stay expected beforehand weighs as much as this many stays seen."""


def _resize(bays: simpy.Resource, working: int) -> None:
    """Have `working` sockets in a group; who waits moves up when there are more."""
    bays._capacity = working
    bays._trigger_put(None)


class Queues:
    """Sockets, who holds one, who waits, and the integrals that Little's law needs.

    Notes
    -----
    Expected wait of a car that finds all c sockets taken and n cars before it: (n S + R) / c with S the mean stay of
    that kind of site so far and R what is left of it for those on the sockets, as their displays show: S less the mean
    time they have been there, at least a tenth of S. At fast sites S starts at the mean fast session (facts
    charging: japan.quick_charger_yield.session_min_mean_fleet), elsewhere at `ac_stay_min`.
    """

    def __init__(self, sites: Sites, settings: ChargingSettings, sessions: Sessions) -> None:
        self.sites, self.sessions = sites, sessions
        self.waiting = np.zeros(len(sites.socket_kw), np.int64)
        self.taken = np.zeros(len(sites.socket_kw), np.int64)
        self.broken = np.zeros(len(sites.socket_kw), np.int64)
        self.plugged_sum_ms = np.zeros(len(sites.socket_kw), np.int64)
        self.queue = np.zeros(len(sites), np.int64)
        self.area_ms = np.zeros(len(sites), np.int64)
        self.wait_ms = np.zeros(len(sites), np.int64)
        self._changed_ms = np.zeros(len(sites), np.int64)
        self._env = sessions.env
        self._bays: dict[int, simpy.Resource] = {}
        self._held: dict[int, Request] = {}
        self._socket_of: dict[int, int] = {}
        stay = np.full(len(SiteKind), settings.ac_stay_min)
        stay[SiteKind.FAST] = facts.load("charging")["japan"]["quick_charger_yield"]["session_min_mean_fleet"]
        self._stay_sum_ms = stay * 60_000 * PRIOR_STAYS
        self._stays = np.full(len(SiteKind), PRIOR_STAYS)

    def _bay(self, socket: int) -> simpy.Resource:
        if socket not in self._bays:
            self._bays[socket] = bays = simpy.Resource(self._env, int(self.sites.socket_count[socket]))
            if self.broken[socket]:
                _resize(bays, self.working(socket))
        return self._bays[socket]

    def working(self, socket: int) -> int:
        """Sockets of a group that are not broken."""
        return int(self.sites.socket_count[socket] - self.broken[socket])

    def resize(self, socket: int, more_broken: int) -> None:
        """Count a socket of a group as broken (1) or repaired (-1)."""
        self.broken[socket] += more_broken
        _resize(self._bay(socket), self.working(socket))

    def expected_wait_ms(self, socket: int) -> float:
        """Expected wait of a car that asks for this group of sockets now."""
        bay = self._bay(socket)
        if bay.count < bay.capacity:
            return 0.0
        if bay.capacity <= 0:
            return float("inf")
        kind = self.sites.site_kind[self.sites.socket_site[socket]]
        stay = float(self._stay_sum_ms[kind] / self._stays[kind])
        elapsed = self.sessions.now_ms - float(self.plugged_sum_ms[socket]) / bay.count
        return (len(bay.queue) * stay + max(stay - elapsed, stay / 10)) / bay.capacity

    def expected_waits_ms(self) -> NDArray[np.float64]:
        """The same for all groups of sockets, shape (n_sockets,)."""
        stay = (self._stay_sum_ms / self._stays)[self.sites.site_kind[self.sites.socket_site]]
        elapsed = self.sessions.now_ms - self.plugged_sum_ms / np.maximum(self.taken, 1)
        working = self.sites.socket_count - self.broken
        wait = (self.waiting * stay + np.maximum(stay - elapsed, stay / 10)) / np.maximum(working, 1)
        return np.where(self.taken < working, 0.0, np.where(working > 0, wait, np.inf))

    def request(self, row: int, socket: int) -> bool:
        """Ask for a socket; True when it is there at once, else the row has a place in the queue."""
        request = self._bay(socket).request()
        self._socket_of[row] = socket
        if request.triggered:
            self._held[row] = request
            self._take(socket)
            return True
        self.sessions.turn[row] = request
        return False

    def join(self, row: int, site: int) -> None:
        """Count a car into the queue now."""
        self.waiting[self._socket_of[row]] += 1
        self._count(site, 1, self.sessions.now_ms)

    def granted(self, row: int) -> bool:
        """End a row's waiting: True when it got the socket, False when its place is given up."""
        request = self.sessions.turn.pop(row)
        if request.triggered:
            self._held[row] = request
            self._take(self._socket_of[row])
            return True
        request.cancel()
        return False

    def _take(self, socket: int) -> None:
        self.taken[socket] += 1
        self.plugged_sum_ms[socket] += self.sessions.now_ms

    def give_up(self, row: int) -> None:
        """Give up a place now; the car is counted in the queue until `leave`."""
        request = self.sessions.turn.pop(row)
        if request.triggered:  # pragma: no cover - a grant is handled in the millisecond in which it is made
            self._bay(self._socket_of[row]).release(request)
        request.cancel()

    def leave(self, row: int, site: int, wait_ms: int) -> None:
        """Count a car out of the queue now."""
        self.waiting[self._socket_of[row]] -= 1
        self._count(site, -1, self.sessions.now_ms)
        self.wait_ms[site] += wait_ms

    def free(self, row: int, socket: int, stay_ms: int) -> None:
        """Give a socket back after a stay."""
        self._bay(socket).release(self._held.pop(row))
        self.taken[socket] -= 1
        self.plugged_sum_ms[socket] -= self.sessions.now_ms - stay_ms
        kind = self.sites.site_kind[self.sites.socket_site[socket]]
        self._stay_sum_ms[kind] += stay_ms
        self._stays[kind] += 1

    def hand_over(self, held: int, row: int, socket: int, since_ms: int) -> None:
        """Let a row have the socket that another holds since `since_ms`; its stay begins now."""
        self._held[row] = self._held.pop(held)
        self._socket_of[row] = socket
        self.plugged_sum_ms[socket] += self.sessions.now_ms - since_ms

    def let_go(self, row: int, socket: int, since_ms: int) -> None:
        """Give back a socket on which nobody charged."""
        self._bay(socket).release(self._held.pop(row))
        self.taken[socket] -= 1
        self.plugged_sum_ms[socket] -= since_ms

    def _count(self, site: int, change: int, now_ms: int) -> None:
        self.area_ms[site] += self.queue[site] * (now_ms - self._changed_ms[site])
        self._changed_ms[site] = now_ms
        self.queue[site] += change

    def close(self, end_ms: int, sites: NDArray[np.int32], asked_ms: NDArray[np.int64]) -> None:
        """End of the run: count the waits of those who still stand in queues, given site and moment asked of each."""
        np.add.at(self.wait_ms, sites, end_ms - asked_ms)
        self.area_ms += self.queue * (end_ms - self._changed_ms)
        self._changed_ms[:] = end_ms
        self.queue[:] = 0

    def residual_ms(self, now_ms: int, sites: NDArray[np.int32], asked_ms: NDArray[np.int64]) -> int:
        """Little's law: sum over sites of |sum of waits - integral of queue length|, ms; exact in whole milliseconds.

        `sites` and `asked_ms` are of those who stand in queues now.
        """
        waits = self.wait_ms.copy()
        np.add.at(waits, sites, now_ms - asked_ms)
        return int(np.abs(waits - self.area_ms - self.queue * (now_ms - self._changed_ms)).sum())

    def restart(
        self, env: simpy.Environment, held: list[tuple[int, int]], queued: list[tuple[int, int]]
    ) -> dict[int, Request]:
        """New resources in `env`: (row, socket) held are asked for first, then queue places, each in the order given.

        Returns the queue places, by row.
        """
        self._env = env
        self._bays.clear()
        # who is on a socket that has just broken still holds it until the tick ends
        for socket in np.flatnonzero(self.broken).tolist():
            self._bays[socket] = simpy.Resource(env, int(self.sites.socket_count[socket]))
        self._held = {row: self._bay(socket).request() for row, socket in held}
        for socket in np.flatnonzero(self.broken).tolist():
            _resize(self._bays[socket], self.working(socket))
        return {row: self._bay(socket).request() for row, socket in queued}
