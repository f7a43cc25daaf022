"""Low-voltage feeders: which homes share a transformer or cable, and what else hangs on it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from maps.network import CityMap
from twin import facts
from twin.grid.base_load import GridError
from twin.grid.feeder_file import read_own_feeders
from twin.settings import GridSettings

DEGREE_M = 111_320.0
FARTHEST_M = 2000.0
"""A feeder of the scenario that lies farther from every street is a mistake in its file."""


class Feeders(NamedTuple):
    """Low-voltage feeders of a city and the transformers they hang on.

    Attributes
    ----------
    x, y : ndarray of float64
        Middle of the feeder's homes, metres.
    homes : ndarray of int64
        Households on it.
    home_feeder : ndarray of int32
        One entry per place of the map, -1 where it is not a home.
    name : list of str
    rated_kw : ndarray of float64
        What it can carry, kW at the facts' power factor.
    transformer : ndarray of int32
        Row of `transformer_kw` of each feeder.
    transformer_kw : ndarray of float64
    sites : dict of str to int
        Feeder of charging sites that a file names.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    homes: NDArray[np.int64]
    home_feeder: NDArray[np.int32]
    name: list[str]
    rated_kw: NDArray[np.float64]
    transformer: NDArray[np.int32]
    transformer_kw: NDArray[np.float64]
    sites: dict[str, int]


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


def build_feeders(city: CityMap, settings: GridSettings, market: str) -> Feeders:
    """Feeders of the scenario's file, else generated ones.

    Raises
    ------
    GridError
        When the file cannot be used.
    """
    if settings.feeders:
        return own_feeders(city, Path(settings.feeders))
    return lay_feeders(city, settings.homes_per_feeder or homes_per_feeder(market), market=market)


def size_kva(need_kva: NDArray[np.float64], sizes: list[float]) -> NDArray[np.float64]:
    """Smallest usual size that meets each need; beyond the largest, several of the largest.

    Examples
    --------
    >>> size_kva(np.array([9.0, 10.0, 30.5, 230.0]), [10, 20, 50, 100]).tolist()
    [10.0, 10.0, 50.0, 300.0]
    """
    usual = np.array(sizes, float)
    row = np.searchsorted(usual, need_kva - 1e-9)
    several = np.ceil(need_kva / usual[-1] - 1e-9) * usual[-1]
    return np.asarray(np.where(row < len(usual), usual[np.minimum(row, len(usual) - 1)], several))


def lay_feeders(city: CityMap, homes: int, *, market: str = "japan") -> Feeders:
    """Feeders for the homes of a map, at most `homes` on each, and transformers for feeders near each other.

    Without a cable plan, homes near each other share a feeder; real feeders follow streets, so single feeders are
    plausible in size and place, not true. Ratings are those of facts grid: feeder_rating, an assumption.
    """
    rows = city.places("home")
    x, y = city.place_x[rows].astype(float), city.place_y[rows].astype(float)
    group = cluster(x, y, homes)
    count = np.bincount(group)
    home_feeder = np.full(len(city.place_kind), -1, np.int32)
    home_feeder[rows] = group
    size = np.maximum(count, 1)
    x, y = np.bincount(group, x) / size, np.bincount(group, y) / size
    known = facts.load("grid")["feeder_rating"]
    usual, factor = known[market], known["power_factor"]
    rated = size_kva(count * usual["kva_per_home"], usual["sizes_kva"])
    shared = usual["homes_per_transformer"] // homes_per_feeder(market)
    transformer = cluster(x, y, shared) if shared > 1 else np.arange(len(x), dtype=np.int32)
    carried = np.bincount(transformer, count).astype(float)
    carries = size_kva(carried * usual["kva_per_home"], usual["transformer_kva"]) if shared > 1 else rated
    names = [f"feeder {i}" for i in range(len(x))]
    return Feeders(x, y, count, home_feeder, names, rated * factor, transformer, carries * factor, {})


def own_feeders(city: CityMap, path: Path) -> Feeders:
    """Feeders of a file; every home of the map hangs on the nearest.

    Raises
    ------
    GridError
        When the file cannot be used, or a feeder lies far from the map.
    """
    found, network = read_own_feeders(path), city.network
    inside = np.setdiff1d(np.arange(network.n_nodes), city.outside_node)
    # metres on the tangent plane at the map's middle: enough to find the nearest node
    scale = np.array([math.cos(math.radians(float(network.node_lat[inside].mean()))), 1.0]) * DEGREE_M
    at = np.array([[f.lon, f.lat] for f in found])
    degrees = np.column_stack([network.node_lon[inside], network.node_lat[inside]])
    away, nearest = cKDTree(degrees * scale).query(at * scale)
    if (away > FARTHEST_M).any():
        far = found[int(np.argmax(away))]
        raise GridError(f"{far.place}: feeder {far.name} is {away.max() / 1000:.1f} km from the nearest street")
    node = inside[nearest]
    x, y = np.column_stack([network.node_x[node], network.node_y[node]]).T + ((at - degrees[nearest]) * scale).T
    rows = city.places("home")
    home_feeder = np.full(len(city.place_kind), -1, np.int32)
    if len(rows):
        home_feeder[rows] = cKDTree(np.column_stack([x, y])).query(
            np.column_stack([city.place_x[rows], city.place_y[rows]])
        )[1]
    count = np.bincount(home_feeder[rows], minlength=len(found))
    homes = np.array([c if f.homes is None else f.homes for f, c in zip(found, count.tolist(), strict=True)], np.int64)
    factor = facts.load("grid")["feeder_rating"]["power_factor"]
    rating = {f.transformer: f.transformer_kva * factor for f in found}
    order = {name: row for row, name in enumerate(rating)}
    return Feeders(
        x, y, homes, home_feeder, [f.name for f in found], np.array([f.rated_kva * factor for f in found]),
        np.array([order[f.transformer] for f in found], np.int32), np.array(list(rating.values())),
        {site: row for row, f in enumerate(found) for site in f.sites},
    )  # fmt: skip
