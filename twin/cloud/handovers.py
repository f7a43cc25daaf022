"""Hand-overs from cell to cell: how many, and what they take of the cell that a car comes into."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twin import facts


class Handovers:
    """Counts by cell; signalling goes before data. Facts: `connectivity.cellular.handover`.

    Parameters
    ----------
    cells : int

    Attributes
    ----------
    count : ndarray of int64, shape (cells,)
        Cars that came in so far, written by the kernel that follows them.
    size_b : int
        Signalling of one, bytes.
    """

    def __init__(self, cells: int) -> None:
        given = facts.load("connectivity")["cellular"]["handover"]
        self.size_b, self._gap_ms = int(given["signalling_bytes"]), int(given["gap_ms"])
        self.count = np.zeros(cells, np.int64)
        self._charged = np.zeros(cells, np.int64)

    def leave(self, room_b: NDArray[np.int64]) -> NDArray[np.int64]:
        """What the hand-overs since the last call leave of each cell's bytes, shape (cells,)."""
        left: NDArray[np.int64] = np.maximum(room_b - (self.count - self._charged) * self.size_b, 0)
        self._charged[:] = self.count
        return left

    def summary(self) -> dict[str, int | float]:
        """Count, signalling bytes and the sum of gaps, of all cells."""
        count = int(self.count.sum())
        return {
            "handovers": count,
            "handover_signalling_bytes": count * self.size_b,
            "handover_gap_s": count * self._gap_ms / 1000,
        }
