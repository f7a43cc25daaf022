"""Everything that waits, as rows of one table, and the SimPy environment that follows the world's clock.

A session is a charge, an install, a large upload, the life of a charging bay. What it is and what it waits for stands
in its row; its SimPy process only waits for the moment the row names and then calls the room's step. So a process can
be entered at any phase, and the table alone is enough to start everything again (`revive`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from enum import IntEnum
from typing import Any, ClassVar, Protocol

import numpy as np
import simpy
from numpy.typing import NDArray

FREE = 0
"""Phase of a row that nobody uses; rooms number their phases from 1."""

Step = Callable[[int], None]
"""What a room does with a row whose moment has come."""

_COLUMNS = {
    "kind": "u1",  # Work
    "car": "i4",
    "site": "i4",  # where: charging site, cell, worker pool; meaning by kind
    "phase": "u1",  # FREE, or a phase of the room
    "due": "i8",  # ms; when the phase ends by itself, -1 when only somebody else can end it
    "serial": "i8",  # order of the last change; ties at one millisecond are broken by it
    "asked": "i8",  # ms; when the session began
}


class Work(IntEnum):
    """Which room a session belongs to."""

    CHARGE = 1
    UPLOAD = 2
    INSTALL = 3
    REPAIR = 4
    RESERVE = 5
    VISIT = 6


class SessionError(ValueError):
    """A session was asked for something that its phase does not allow."""


class Grows(Protocol):
    """A room's own columns, one row per session row."""

    def grow(self, rows: int) -> None:
        """Have at least `rows` rows, keeping what is there."""


class Sessions:
    """The table of live sessions and their processes.

    Parameters
    ----------
    env : simpy.Environment, optional
        Clock in integer milliseconds; a new one at 0 when left out.
    rows : int
        Rows to start with; the table doubles when they are used up.

    Notes
    -----
    One rule keeps the table sufficient: a session changes only through `open`, `arm` and `close`. `arm` stamps the
    row with the next serial number and, when called from outside the row's own process, wakes that process so that it
    reads its row again.
    """

    rebuilt: ClassVar = ("_steps", "_columns", "_asleep")
    """What rooms say of themselves when they are built."""

    kind: NDArray[np.uint8]
    car: NDArray[np.int32]
    site: NDArray[np.int32]
    phase: NDArray[np.uint8]
    due: NDArray[np.int64]
    serial: NDArray[np.int64]
    asked: NDArray[np.int64]

    def __init__(self, env: simpy.Environment | None = None, *, rows: int = 1024) -> None:
        self.env = simpy.Environment(initial_time=0) if env is None else env
        self.turn: dict[int, simpy.resources.resource.Request] = {}
        self.rows = rows
        self._last_serial = 0
        self._free = list(range(rows - 1, -1, -1))
        self._process: dict[int, simpy.Process] = {}
        self._asleep: dict[int, simpy.Event] = {}
        self._steps: dict[int, Step] = {}
        self._columns: list[Grows] = []
        for name, dtype in _COLUMNS.items():
            setattr(self, name, np.zeros(rows, dtype))

    def __len__(self) -> int:
        """Rows in use."""
        return self.rows - len(self._free)

    @property
    def now_ms(self) -> int:
        """The queue clock, ms since the scenario's start."""
        return int(self.env.now)

    def room(self, kind: Work, step: Step, columns: Grows | None = None) -> None:
        """Say what happens with sessions of a kind when their moment comes, and which columns grow with the table."""
        self._steps[kind] = step
        if columns is not None:
            columns.grow(self.rows)
            self._columns.append(columns)

    def live(self, kind: Work) -> NDArray[np.int64]:
        """Rows in use by a kind, in row order."""
        return np.flatnonzero((self.kind == kind) & (self.phase != FREE))

    def open(self, kind: Work, *, car: int, site: int, phase: int, due: int, asked: int) -> int:
        """Take a row, fill it and start its process; return the row."""
        if not self._free:
            self._double()
        row = self._free.pop()
        self.kind[row], self.car[row], self.site[row], self.asked[row] = kind, car, site, asked
        self._stamp(row, phase, due)
        self._process[row] = self.env.process(self._follow(row))
        return row

    def arm(self, row: int, phase: int, due: int) -> None:
        """Move a session to `phase`, which ends at `due` (ms; -1: when somebody arms it again).

        Raises
        ------
        SessionError
            When the row is free, the phase is FREE or the moment lies in the past.
        """
        if phase == FREE or self.phase[row] == FREE:
            raise SessionError(f"session row {row}: a free row cannot be armed, nor a live one freed by arm")
        if 0 <= due < self.env.now:
            raise SessionError(f"session row {row}: due at {due} ms, but it is {self.env.now} ms already")
        self._stamp(row, phase, due)
        process = self._process[row]
        if process is self.env.active_process:
            return
        asleep = self._asleep.pop(row, None)
        if asleep is None or due < 0:
            process.interrupt()
        else:  # it waits for nothing but this: ring its own bell at the moment, as a simpy.Timeout does
            asleep._ok, asleep._value = True, None
            self.env.schedule(asleep, delay=due - self.env.now)

    def close(self, row: int) -> None:
        """End a session; called by its own step. The row keeps its values until `recycle`."""
        if self._process[row] is not self.env.active_process:
            raise SessionError(f"session row {row}: only its own step may close it")
        self.phase[row] = FREE
        self.turn.pop(row, None)
        self._asleep.pop(row, None)
        del self._process[row]

    def recycle(self, row: int) -> None:
        """Give a closed row back for use."""
        if self.phase[row] != FREE or row in self._process:
            raise SessionError(f"session row {row} is live and cannot be given back")
        self.kind[row] = 0
        self._free.append(row)

    def revive(self, env: simpy.Environment, turns: Mapping[int, simpy.resources.resource.Request]) -> None:
        """Start all processes anew in another environment, from the table alone.

        Parameters
        ----------
        env : simpy.Environment
            Its clock stands where the table was saved.
        turns : mapping of row to Request
            Places in queues, requested in `env` by the room in the order of their serials.
        """
        rows = np.flatnonzero(self.phase != FREE)
        late = rows[(self.due[rows] >= 0) & (self.due[rows] < env.now)]
        if len(late):
            raise SessionError(
                f"the clock stands at {env.now} ms, but session row {late[0]} was due at {self.due[late[0]]} ms"
            )
        self.env = env
        self.turn = dict(turns)
        self._asleep.clear()
        self._process.clear()
        for row in rows[np.argsort(self.serial[rows])].tolist():
            self._process[row] = env.process(self._follow(row))

    def _follow(self, row: int) -> Generator[simpy.Event, Any, None]:
        """Wait for what the row names, then let the room act: the SimPy process of one session."""
        while self.phase[row] != FREE:
            try:
                yield self._moment(row)
            except simpy.Interrupt:
                continue
            self._steps[int(self.kind[row])](row)

    def _moment(self, row: int) -> simpy.Event:
        turn, due = self.turn.get(row), int(self.due[row])
        if turn is not None:
            return turn if due < 0 else turn | self.env.timeout(due - self.env.now)
        if due >= 0:
            return self.env.timeout(due - self.env.now)
        self._asleep[row] = alarm = self.env.event()
        return alarm

    def _stamp(self, row: int, phase: int, due: int) -> None:
        self._last_serial += 1
        self.phase[row], self.due[row], self.serial[row] = phase, due, self._last_serial

    def _double(self) -> None:
        old, self.rows = self.rows, 2 * self.rows
        for name in _COLUMNS:
            values = getattr(self, name)
            setattr(self, name, np.concatenate([values, np.zeros(old, values.dtype)]))
        self._free = list(range(self.rows - 1, old - 1, -1))
        for columns in self._columns:
            columns.grow(self.rows)
