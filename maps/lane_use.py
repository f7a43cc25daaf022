"""How the lanes before a junction are used by movements that share them."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import numpy as np
from numpy.typing import NDArray

_SWEEPS = 60  # each movement in turn fills its emptiest lanes; a handful settles real junctions


def lanes_worth(lanes: Sequence[AbstractSet[int]], load: Sequence[float]) -> NDArray[np.float64]:
    """Lanes' worth of saturation flow that each movement of one approach gets.

    Drivers spread so that the busiest lane they may use is as little busy as possible (equal
    flow ratios, HCM 2010, ch. 31). A movement then gets the share of its busiest lane's time
    that its load has there; those of one approach never add up to more than its lanes.

    Parameters
    ----------
    lanes : per movement, the lanes it may leave from, at least one
    load : per movement, its flow over its share of green; any unit

    Returns
    -------
    float64, shape (n_movements,)
        More than 0. A movement without load has its lanes to itself.

    Examples
    --------
    >>> lanes_worth([{0, 1}, {1}], [300.0, 100.0]).round(2).tolist()
    [1.5, 0.5]
    """
    rows = range(len(lanes))
    worth = np.array([float(len(some)) for some in lanes])
    used = np.zeros((len(lanes), 1 + max((max(some) for some in lanes), default=0)))
    for _ in range(_SWEEPS):
        before = used.copy()
        for i in rows:
            mine = sorted(lanes[i])
            others = used[:, mine].sum(axis=0) - used[i, mine]
            used[i, mine] = _pour(others, load[i])
        if np.allclose(used, before, rtol=1e-9, atol=0.0):
            break
    total = used.sum(axis=0)
    for i in rows:
        if load[i] > 0:
            worth[i] = load[i] / max(total[lane] for lane in lanes[i] if used[i, lane] > 0)
    return worth


def _pour(levels: NDArray[np.float64], amount: float) -> NDArray[np.float64]:
    """Raise the lowest levels to one height, by `amount` in all; returns what each gets."""
    order = np.sort(levels)
    count = np.arange(1, len(order) + 1)
    heights = (amount + np.cumsum(order)) / count
    # as many lanes take part as lie below the height they would reach together
    height = heights[np.flatnonzero(heights > order)[-1]] if amount > 0 else -np.inf
    return np.maximum(0.0, height - levels)
