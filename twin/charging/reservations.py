"""Sockets kept for cars on their way, as OCPP's ReserveNow does: held until the car comes or the time ends."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike

from twin.charging.choice import Choice
from twin.charging.queues import Queues
from twin.sessions import Sessions, Work


class Hold(IntEnum):
    """Where a reservation stands; 0 is a free row."""

    HELD = 1
    OVER = 2  # used or given up: the socket is no longer its own


class Reservations:
    """One reservation per car; nobody waits for one: without a free socket there is none.

    Parameters
    ----------
    queues, choice, sessions : Queues, Choice, Sessions
    cars : int
        Cars of the fleet.
    hold_min : float
        Longest time a socket is held.

    Attributes
    ----------
    made, used, expired, given_up, refused : int
        `made` is the sum of the next three and of those that hold now; `refused` found no free socket.
    """

    def __init__(self, queues: Queues, choice: Choice, sessions: Sessions, *, cars: int, hold_min: float) -> None:
        self.queues, self.choice, self.sessions = queues, choice, sessions
        self.hold_ms = round(hold_min * 60_000)
        self.row_of = np.full(cars, -1, np.int64)
        self.socket = np.zeros(0, np.int32)
        self.made = self.used = self.expired = self.given_up = self.refused = 0
        self.ended: list[int] = []
        sessions.room(Work.RESERVE, self._step, self)

    def grow(self, rows: int) -> None:
        """Have at least `rows` rows, keeping what is there."""
        self.socket = np.append(self.socket, np.full(max(rows - len(self.socket), 0), -1, np.int32))

    def ask(self, cars: ArrayLike, sites: ArrayLike) -> None:
        """Hold the best free socket at its site for each car, from now on; a car's older reservation is given up."""
        for car, site in zip(np.atleast_1d(cars).tolist(), np.atleast_1d(sites).tolist(), strict=True):
            if self.row_of[car] >= 0:
                self._give_up(int(self.row_of[car]))
            socket, wait_ms = self.choice.best_socket(car, site)
            if wait_ms > 0:
                self.refused += 1
                continue
            s, now = self.sessions, self.sessions.now_ms
            row = s.open(Work.RESERVE, car=car, site=site, phase=Hold.HELD, due=now + self.hold_ms, asked=now)
            held = self.queues.request(row, socket)
            assert held, "a free socket was not given"
            self.socket[row], self.row_of[car] = socket, row
            self.made += 1

    def take(self, car: int, site: int, row: int) -> int:
        """The socket that is held for a car that comes to a site, now of session `row`; -1 when there is none."""
        held = int(self.row_of[car])
        if held < 0:
            return -1
        socket = int(self.socket[held])
        if int(self.sessions.site[held]) != site or self.queues.taken[socket] > self.queues.working(socket):
            self._give_up(held)
            return -1
        self.queues.hand_over(held, row, socket, int(self.sessions.asked[held]))
        self.used += 1
        self._over(held)
        return socket

    def holds(self) -> list[tuple[int, int]]:
        """(row, socket) of all that hold now, in the order made."""
        rows = self.sessions.live(Work.RESERVE)
        rows = rows[self.sessions.phase[rows] == Hold.HELD]
        rows = rows[np.argsort(self.sessions.serial[rows])]
        return list(zip(rows.tolist(), self.socket[rows].tolist(), strict=True))

    def residual(self) -> int:
        """Reservations made that neither hold nor have ended; 0 when nothing is lost."""
        return abs(self.made - self.used - self.expired - self.given_up - len(self.holds()))

    def recycle(self) -> None:
        """Give back the rows of reservations that are over; between two ticks."""
        for row in self.ended:
            self.sessions.recycle(row)
        self.ended = []

    def _give_up(self, row: int) -> None:
        self.queues.let_go(row, int(self.socket[row]), int(self.sessions.asked[row]))
        self.given_up += 1
        self._over(row)

    def _over(self, row: int) -> None:
        """Let the row's own process close it, now."""
        self.row_of[self.sessions.car[row]] = -1
        self.sessions.arm(row, Hold.OVER, self.sessions.now_ms)

    def _step(self, row: int) -> None:
        if self.sessions.phase[row] == Hold.HELD:
            self.queues.let_go(row, int(self.socket[row]), int(self.sessions.asked[row]))
            self.expired += 1
            self.row_of[self.sessions.car[row]] = -1
        self.sessions.close(row)
        self.ended.append(row)
