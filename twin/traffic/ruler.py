"""Points on the drawn geometry of links, by the metres driven on them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maps.network import RoadNetwork


class Ruler:
    """Lengths along a network's geometry, measured once.

    Parameters
    ----------
    network : RoadNetwork

    Examples
    --------
    >>> from maps.toy import corridor
    >>> x, y = Ruler(corridor(2, length_m=200.0)).at(np.array([0, 1]), np.array([50.0, 50.0]))
    >>> x.tolist(), y.tolist()
    ([50.0, 250.0], [0.0, 0.0])
    """

    def __init__(self, network: RoadNetwork) -> None:
        self.network = network
        self._seg = np.hypot(np.diff(network.geom_x), np.diff(network.geom_y)).astype(np.float64)
        self._run = np.concatenate([[0.0], np.cumsum(self._seg)])

    def at(
        self, links: NDArray[np.integer], metres: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Points on the true geometry of links, `metres` from their starts, shape (n,) each."""
        network, run = self.network, self._run
        first, last = network.geom_ptr[links], network.geom_ptr[links + 1] - 1
        begin = run[first]
        at = begin + metres / network.link_length[links] * (run[last] - begin)
        point = np.clip(np.searchsorted(run, at, side="right") - 1, first, np.maximum(last - 1, first))
        seg = self._seg[point]
        step = np.clip(np.where(seg > 0, (at - run[point]) / np.where(seg > 0, seg, 1), 0.0), 0, 1)
        x = network.geom_x[point] * (1 - step) + network.geom_x[point + 1] * step
        y = network.geom_y[point] * (1 - step) + network.geom_y[point + 1] * step
        return x.astype(np.float32), y.astype(np.float32)
