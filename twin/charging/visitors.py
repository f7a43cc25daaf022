"""Other people's cars at public and fast sites: they come, queue, take a socket for a while and leave.

When, for how long and for how much energy is drawn from real sessions (`twin.charging.stays`); how many is the
scenario's `charging.visitors`, sessions per socket and day. They are no cars of the fleet: their energy is in the table
`visitors`, not in `grid_load`, and of a site's cap they take what they draw before the fleet does.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maps.network import SOCKET_KINDS
from twin.chance import Stream, chance
from twin.charging.queues import Queues
from twin.charging.site import DC_SOCKETS, SCHUKO, SiteKind, Sites
from twin.charging.stays import draw
from twin.demand.other_traffic import poisson
from twin.events import Column, Table
from twin.sessions import Sessions, Work
from twin.settings import ChargingSettings

_DAY_MS = 86_400_000
HIGH_POWER_KW = 100.0
"""Sockets of direct current from here on are as those of a 150 kW station."""
ONBOARD_KW = 7.4
"""What most cars take from an AC socket (one phase of 32 A; assumption)."""
MOST_A_DAY = 100_000
"""Draws are numbered by day, socket group and session; no group has more in a day."""

VISITORS = {
    "site_id": Column("i4", "", "charging site"),
    "connector": Column("str", "", "kind of socket"),
    "asked_s": Column("f8", "s", "asks for a socket"),
    "plugged_s": Column("f8", "s", "plugged in; null when it never was"),
    "unplugged_s": Column("f8", "s", "socket free again; null when still plugged or never plugged"),
    "wait_s": Column("f8", "s", "time in the queue"),
    "kw": Column("f8", "kW", "mean power while it charges"),
    "meter_kwh": Column("f8", "kWh", "drawn at the meter until it left, or the run ended"),
    "outcome": Column("str", "", "left, balked, reneged, closed, broken or open"),
}


class Seat(IntEnum):
    """Where a visitor stands; 0 is a free row."""

    COMING = 1
    QUEUED = 2
    ON = 3


class Visitors:
    """Sessions of cars that are not the fleet's.

    Parameters
    ----------
    sites, queues, sessions, settings : Sites, Queues, Sessions, ChargingSettings
    market : {"japan", "europe", "us"}
    seed, start_ms_of_day : int
    start_ms_of_week : int
        Local time of the clock's 0 since Monday 0:00, for opening hours.

    Attributes
    ----------
    socket : ndarray of int32
    stay_ms : ndarray of int64
    kw, kwh : ndarray of float64
        By session row: socket group, time on it, mean power while charging, energy at the meter.
    table : Table
    came, ended : int
        Visitors so far, and those with an outcome.
    """

    def __init__(
        self,
        sites: Sites,
        queues: Queues,
        sessions: Sessions,
        settings: ChargingSettings,
        *,
        market: str,
        seed: int,
        start_ms_of_day: int,
        start_ms_of_week: int,
    ) -> None:
        self.sites, self.queues, self.sessions, self.settings = sites, queues, sessions, settings
        self.market, self.seed = market, seed
        self.start_ms_of_day, self.start_ms_of_week = start_ms_of_day, start_ms_of_week
        self.table = Table("visitors", VISITORS)
        self.socket = np.zeros(0, np.int32)
        self.stay_ms, self.plugged_ms, self.wait_ms = (np.zeros(0, np.int64) for _ in range(3))
        self.kw, self.kwh = np.zeros(0), np.zeros(0)
        self.came = self.ended = self.planned_days = 0
        self._finished = False
        self._over: list[int] = []
        sessions.room(Work.VISIT, self._step, self)

    def grow(self, rows: int) -> None:
        """Have at least `rows` rows, keeping what is there."""
        more = max(rows - len(self.socket), 0)
        for name in ("socket", "stay_ms", "plugged_ms", "wait_ms", "kw", "kwh"):
            old = getattr(self, name)
            setattr(self, name, np.append(old, np.zeros(more, old.dtype)))

    # ------------------------------------------------------------------ who comes

    def plan(self, until_ms: int) -> None:
        """Open the sessions of every day that begins before `until_ms`; between two ticks."""
        while self.settings.visitors and self.planned_days * _DAY_MS - self.start_ms_of_day < until_ms:
            self._plan_day(self.planned_days)
            self.planned_days += 1

    def _plan_day(self, day: int) -> None:
        sites, midnight = self.sites, day * _DAY_MS - self.start_ms_of_day
        site = sites.socket_site
        groups = np.flatnonzero((sites.site_kind[site] >= SiteKind.PUBLIC) & sites.open_to_all[site])
        number = day * len(site) + groups
        mean = np.asarray(self.settings.visitors * sites.socket_count[groups], np.float64)
        many = poisson(chance(self.seed, Stream.VISITORS, number), mean).clip(max=MOST_A_DAY)
        which, serial = np.repeat(groups, many), np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
        key = np.repeat(number, many) * MOST_A_DAY + serial
        kind = np.array([self.stays_of(int(g)) for g in which.tolist()], object)
        for name in sorted(set(kind.tolist())):
            mine = np.flatnonzero(kind == name)
            drawn = draw(name, key[mine], seed=self.seed)
            at = midnight + np.rint(drawn.hour * 3.6e6).astype(np.int64)
            for i in np.argsort(at, kind="stable").tolist():
                if at[i] >= self.sessions.now_ms:  # of the first day, who comes after the start
                    self._open(int(which[mine[i]]), int(at[i]), float(drawn.stay_h[i]), float(drawn.energy_kwh[i]))

    def stays_of(self, socket: int) -> str:
        """Name of the table of real sessions for a group of sockets."""
        kind, kw = int(self.sites.socket_kind[socket]), float(self.sites.socket_kw[socket])
        if kind in DC_SOCKETS:
            return "ch_fast150" if kw >= HIGH_POWER_KW else "uk_rapid"
        if kind == SCHUKO:
            return "fr_domestic"
        if self.market == "us":
            return "us_level2"
        return "uk_22kw" if kw > ONBOARD_KW else "uk_slow"

    def _open(self, socket: int, at: int, stay_h: float, kwh: float) -> None:
        row = self.sessions.open(
            Work.VISIT, car=-1, site=int(self.sites.socket_site[socket]), phase=Seat.COMING, due=at, asked=at
        )
        dc = int(self.sites.socket_kind[socket]) in DC_SOCKETS
        rated = float(self.sites.socket_kw[socket])
        usual = rated if dc else min(rated, ONBOARD_KW)
        kw = min(max(kwh / stay_h, usual), rated)
        self.socket[row], self.stay_ms[row], self.kw[row] = socket, max(1, round(stay_h * 3.6e6)), kw
        self.kwh[row] = min(kwh, kw * stay_h)
        self.plugged_ms[row], self.wait_ms[row] = -1, 0
        self.came += 1

    # ------------------------------------------------------------------ what they do

    def _step(self, row: int) -> None:
        s, socket = self.sessions, int(self.socket[row])
        if s.phase[row] == Seat.COMING:
            self._ask(row, socket)
        elif s.phase[row] == Seat.QUEUED:
            self.wait_ms[row] = s.now_ms - int(s.asked[row])
            granted = self.queues.granted(row)
            self.queues.leave(row, int(s.site[row]), int(self.wait_ms[row]))
            if granted:
                self._plug(row)
            else:
                self._end(row, "reneged")
        else:
            self.queues.free(row, socket, s.now_ms - int(self.plugged_ms[row]))
            cut = s.now_ms - int(self.plugged_ms[row]) < int(self.stay_ms[row])
            self._end(row, "broken" if cut else "left")

    def _ask(self, row: int, socket: int) -> None:
        s, site = self.sessions, int(self.sessions.site[row])
        slot = (s.now_ms + self.start_ms_of_week) // 900_000 % 672
        expected = self.queues.expected_wait_ms(socket)
        if not self.sites.open_slots[site, slot]:
            self._end(row, "closed")
        elif expected == np.inf:
            self._end(row, "broken")
        elif expected > self.settings.balk_min * 60_000:
            self._end(row, "balked")
        elif self.queues.request(row, socket):
            self._plug(row)
        else:
            self.queues.join(row, site)
            s.arm(row, Seat.QUEUED, s.now_ms + round(self.settings.patience_min * 60_000))

    def _plug(self, row: int) -> None:
        now = self.sessions.now_ms
        self.plugged_ms[row] = now
        self.sessions.arm(row, Seat.ON, now + int(self.stay_ms[row]))

    def _end(self, row: int, outcome: str) -> None:
        self._write(np.array([row]), outcome, self.sessions.now_ms)
        self.sessions.close(row)
        self._over.append(row)

    def cut(self, socket: int) -> bool:
        """A socket of a group has broken: send away the visitor who came last; whether there was one."""
        s = self.sessions
        here = s.live(Work.VISIT)
        here = here[(s.phase[here] == Seat.ON) & (self.socket[here] == socket) & (s.due[here] > s.now_ms)]
        # who leaves in this millisecond anyway does so by itself
        if not len(here):
            return False
        s.arm(int(here[np.argmax(s.serial[here])]), Seat.ON, s.now_ms)
        return True

    def on(self, socket: int) -> int:
        """Visitors on a group of sockets."""
        return int((self.socket[self._rows(Seat.ON)] == socket).sum())

    # ------------------------------------------------------------------ what charging asks

    def drawn_w(self, now_ms: int) -> NDArray[np.float64]:
        """What visitors draw now at each site, W."""
        if not self.settings.visitors:
            return np.zeros(len(self.sites))
        rows = self._rows(Seat.ON)
        charging = rows[now_ms < self.plugged_ms[rows] + self.kwh[rows] / self.kw[rows] * 3.6e6]
        return np.bincount(self.sessions.site[charging], self.kw[charging] * 1000.0, len(self.sites)).astype(np.float64)

    def queued(self) -> NDArray[np.int64]:
        """Rows that wait for a socket."""
        return self._rows(Seat.QUEUED)

    def places(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """(row, socket) of those on sockets, in the order plugged, and of those in queues, in the order asked."""
        serial = self.sessions.serial
        on, queued = (rows[np.argsort(serial[rows])] for rows in (self._rows(Seat.ON), self.queued()))
        return (
            list(zip(on.tolist(), self.socket[on].tolist(), strict=True)),
            list(zip(queued.tolist(), self.socket[queued].tolist(), strict=True)),
        )

    def _rows(self, seat: Seat) -> NDArray[np.int64]:
        rows = self.sessions.live(Work.VISIT)
        return np.asarray(rows[self.sessions.phase[rows] == seat])

    def recycle(self) -> None:
        """Give back the rows of visitors that are gone; between two ticks."""
        for row in self._over:
            self.sessions.recycle(row)
        self._over = []

    def residual(self) -> int:
        """Visitors of the days planned who have neither an outcome nor a live session; 0 when none is lost."""
        still = self._rows(Seat.COMING) if self._finished else self.sessions.live(Work.VISIT)
        return abs(self.came - self.ended - len(still))

    def finish(self, end_ms: int) -> None:
        """Write who is there when the run ends; who would have come later never was."""
        queued, on = self.queued(), self._rows(Seat.ON)
        self.wait_ms[queued] = end_ms - self.sessions.asked[queued]
        here = np.sort(np.append(queued, on))
        self._write(here, "open", end_ms)
        self._finished = True

    def summary(self) -> dict[str, float]:
        """Visitors by outcome, those who waited, and what they took (kWh)."""
        outcome = self.table["outcome"]
        counts = {
            f"visitors_{name}": int((outcome == name).sum()) for name in ("balked", "reneged", "closed", "broken")
        }
        waited = np.asarray(self.table["wait_s"], float) > 0
        kwh = float(np.asarray(self.table["meter_kwh"], float).sum())
        return {"visitors": len(outcome), "visitors_waited": int(waited.sum()), "visitors_kwh": kwh, **counts}

    def _write(self, rows: NDArray[np.int64], outcome: str, now_ms: int) -> None:
        plugged: Any = np.where(self.plugged_ms[rows] >= 0, self.plugged_ms[rows] / 1000, np.nan)
        hours = np.nan_to_num((now_ms / 1000 - plugged) / 3600)
        names = np.array(SOCKET_KINDS, object)
        gone = np.nan if outcome == "open" else now_ms / 1000
        self.table.append(
            site_id=self.sessions.site[rows],
            connector=names[self.sites.socket_kind[self.socket[rows]]],
            asked_s=self.sessions.asked[rows] / 1000,
            plugged_s=plugged,
            unplugged_s=np.where(np.isnan(plugged), np.nan, gone),
            wait_s=self.wait_ms[rows] / 1000,
            kw=self.kw[rows],
            meter_kwh=np.minimum(self.kwh[rows], self.kw[rows] * hours),
            outcome=np.full(len(rows), outcome, object),
        )
        self.ended += len(rows)
