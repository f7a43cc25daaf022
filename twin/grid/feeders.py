"""Low-voltage feeders: which homes share a transformer or cable, and what else hangs on it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from maps.network import CityMap
from twin import facts


class Feeders(NamedTuple):
    """Feeders of a city; `home_feeder` has one entry per place of the map, -1 where it is not a home."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    homes: NDArray[np.int64]
    home_feeder: NDArray[np.int32]


def homes_per_feeder(market: str) -> int:
    """Homes on one low-voltage feeder or pole transformer by market (facts grid: japan, europe, us)."""
    grid = facts.load("grid")
    sizes = {
        "japan": grid["japan"]["network"]["homes_per_pole_transformer"]["kva30"],
        "europe": grid["europe"]["network"]["customers_per_lv_feeder"],
        "us": grid["us"]["network"]["homes_per_transformer"],
    }
    return int(sizes[market])


def cluster(x: ArrayLike, y: ArrayLike, limit: int) -> NDArray[np.int32]:
    """Cut points into compact groups of at most `limit`, as equal in size as they can be.

    Halves the points along the longer side of their box until each group is small enough (a k-d tree of the
    least number of leaves). Equal input gives equal groups; ties fall to the lower row.

    Parameters
    ----------
    x, y : array_like of float, shape (n,)
        Metres.
    limit : int
        Largest group, at least 1.

    Returns
    -------
    ndarray of int32, shape (n,)
        Group of each point, 0 to ceil(n / limit) - 1.
    """
    if limit < 1:
        raise ValueError(f"groups of at most {limit} points: give 1 or more")
    return split(x, y, -(-np.size(x) // limit))


def split(x: ArrayLike, y: ArrayLike, parts: int) -> NDArray[np.int32]:
    """Cut points into `parts` compact groups of about equal size; some stay empty when points are too few."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    group = np.zeros(len(x), np.int32)
    first = 0
    waiting = [(np.arange(len(x)), parts)]
    while waiting:
        rows, share = waiting.pop()
        if share <= 1 or len(rows) == 0:
            group[rows] = first
            first += share
            continue
        along, across = (x, y) if np.ptp(x[rows]) >= np.ptp(y[rows]) else (y, x)
        rows = rows[np.lexsort((rows, across[rows], along[rows]))]
        left = share // 2
        cut = len(rows) * left // share
        waiting += [(rows[cut:], share - left), (rows[:cut], left)]
    return group


def lay_feeders(city: CityMap, homes: int) -> Feeders:
    """Feeders for the homes of a map, at most `homes` on each.

    Without a cable plan, homes near each other share a feeder; real feeders follow streets, so single feeders are
    plausible in size and place, not true.
    """
    rows = city.places("home")
    x, y = city.place_x[rows].astype(float), city.place_y[rows].astype(float)
    group = cluster(x, y, homes)
    count = np.bincount(group)
    home_feeder = np.full(len(city.place_kind), -1, np.int32)
    home_feeder[rows] = group
    size = np.maximum(count, 1)
    return Feeders(np.bincount(group, x) / size, np.bincount(group, y) / size, count, home_feeder)
