"""What the traffic engine tells the other rooms: links left by fleet cars during one tick."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Traversals:
    """One row per fleet car and link left in a tick, in order of exit time (ties: by car).

    The engine fills `car, link, enter_ms, exit_ms`; energy fills `energy_j, fuel_ul,
    driven_mm`; autonomy fills `engaged_mm`. Only rows `[:n]` hold something; arrays
    grow by doubling and are used again every tick.

    Parameters
    ----------
    capacity : int
        Rows to start with.
    """

    COLUMNS = (
        ("car", "i4"),
        ("link", "i4"),
        ("enter_ms", "i8"),
        ("exit_ms", "i8"),
        ("energy_j", "i8"),
        ("fuel_ul", "i8"),
        ("driven_mm", "i8"),
        ("engaged_mm", "i8"),
    )

    car: NDArray[np.int32]
    link: NDArray[np.int32]
    enter_ms: NDArray[np.int64]
    exit_ms: NDArray[np.int64]
    energy_j: NDArray[np.int64]
    fuel_ul: NDArray[np.int64]
    driven_mm: NDArray[np.int64]
    engaged_mm: NDArray[np.int64]

    def __init__(self, capacity: int = 1024) -> None:
        self.n = 0
        for name, kind in self.COLUMNS:
            setattr(self, name, np.zeros(capacity, kind))

    @property
    def capacity(self) -> int:
        """Rows that fit before the arrays must grow."""
        return len(self.car)

    def grow(self, rows: int) -> None:
        """Make room for at least `rows` rows, keeping what is there."""
        if rows <= self.capacity:
            return
        size = max(rows, 2 * self.capacity)
        for name, kind in self.COLUMNS:
            old = getattr(self, name)
            new = np.zeros(size, kind)
            new[: self.n] = old[: self.n]
            setattr(self, name, new)
