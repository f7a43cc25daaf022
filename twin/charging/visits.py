"""What charging knows about each live session beside the table of sessions."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Phase(IntEnum):
    """Where a charging session stands; 0 is a free row."""

    COMING = 1  # will ask for a socket when the car is there
    QUEUED = 2
    STARTING = 3  # plugged, waits for handshake or timer
    CHARGING = 4
    ENDING = 5  # last joule is known, its moment is due
    IDLE = 6  # done, still plugged
    LEAVING = 7  # the car is gone or going; the socket is free when due


class Outcome(IntEnum):
    """How a session ended; exactly one each."""

    NONE = 0
    FULL = 1
    DONE = 2  # reached the energy it came for
    LIMIT = 3  # longest session at a fast charger
    LEFT = 4  # the car was needed before it was done
    BALKED = 5  # did not join the queue
    RENEGED = 6  # lost patience in the queue
    LEFT_QUEUE = 7  # the car was needed while it stood in the queue
    OPEN = 8  # still there when the run ended
    CLOSED = 9  # outside the site's opening hours
    BROKEN = 10  # its socket broke, or none of the site worked


OUTCOMES = ("", "full", "done", "limit", "left", "balked", "reneged", "left_queue", "open", "closed", "broken")

_COLUMNS = {
    "session_id": "i8",
    "socket": "i4",  # row among the sites' sockets, -1 none yet
    "dc": "?",
    "outcome": "u1",
    "leave_ms": "i8",  # planned departure, -1 as soon as charged
    "plugged_ms": "i8",  # -1 not (yet)
    "done_ms": "i8",
    "unplugged_ms": "i8",
    "wait_ms": "i8",  # spent in the queue
    "stop_ms": "i8",  # latest end of charging, -1 none
    "from_ms": "i8",  # energy is counted up to here
    "target_j": "i8",  # battery energy it wants to have
    "floor_j": "i8",  # battery energy below which nothing is given back
    "soc_in_j": "i8",
    "soc_out_j": "i8",
    "energy_j": "i8",  # into the battery
    "meter_j": "i8",
    "loss_j": "i8",
    "given_j": "i8",  # given back, at the meter; counted as negative in energy_j and meter_j
    "part_j": "f8",  # fraction of a joule not yet counted
    "meter_part_j": "f8",
    "socket_w": "f8",  # most that socket and car allow: AC at the meter, DC at the plug
    "fraction": "f8",  # the policy's part of it; below 0: gives back
    "gives": "?",  # may give energy back
    "want_w": "f8",
    "grant_w": "f8",  # at the meter, in this tick
    "price": "f8",  # asked per kWh when it plugged in; NaN at homes and workplaces
}

_NONE = {
    "socket": -1,
    "plugged_ms": -1,
    "done_ms": -1,
    "unplugged_ms": -1,
    "stop_ms": -1,
    "fraction": 1.0,
    "price": np.nan,
}


class Visits:
    """Struct of arrays over the columns above; rows are those of the table of sessions."""

    session_id: NDArray[np.int64]
    socket: NDArray[np.int32]
    dc: NDArray[np.bool_]
    outcome: NDArray[np.uint8]
    leave_ms: NDArray[np.int64]
    plugged_ms: NDArray[np.int64]
    done_ms: NDArray[np.int64]
    unplugged_ms: NDArray[np.int64]
    wait_ms: NDArray[np.int64]
    stop_ms: NDArray[np.int64]
    from_ms: NDArray[np.int64]
    target_j: NDArray[np.int64]
    floor_j: NDArray[np.int64]
    soc_in_j: NDArray[np.int64]
    soc_out_j: NDArray[np.int64]
    energy_j: NDArray[np.int64]
    meter_j: NDArray[np.int64]
    loss_j: NDArray[np.int64]
    given_j: NDArray[np.int64]
    part_j: NDArray[np.float64]
    meter_part_j: NDArray[np.float64]
    socket_w: NDArray[np.float64]
    fraction: NDArray[np.float64]
    gives: NDArray[np.bool_]
    want_w: NDArray[np.float64]
    grant_w: NDArray[np.float64]
    price: NDArray[np.float64]

    def __init__(self) -> None:
        self.rows = 0
        self._fresh: list[tuple[NDArray[Any], float]] = []
        for name, dtype in _COLUMNS.items():
            setattr(self, name, np.zeros(0, dtype))

    def grow(self, rows: int) -> None:
        """Have at least `rows` rows, keeping what is there."""
        more = rows - self.rows
        if more <= 0:
            return
        for name, dtype in _COLUMNS.items():
            setattr(self, name, np.concatenate([getattr(self, name), np.zeros(more, dtype)]))
        self.rows = rows
        self._fresh = [(getattr(self, name), _NONE.get(name, 0)) for name in _COLUMNS]

    def clear(self, rows: NDArray[np.int64]) -> None:
        """Make rows ready for new sessions."""
        for column, value in self._fresh:
            column[rows] = value
