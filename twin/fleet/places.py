"""Where the cars of a city live and work: weights of the map's places and a gravity model."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maps.network import CityMap
from twin.chance import Stream, chance
from twin.facts import load

_CELLS = 24  # the longer side of the map in cells of the gravity model
_CELL_MIN_M = 150.0


class PopulationError(ValueError):
    """The wanted cars cannot be placed or chosen; one line saying why and what is valid."""


class Places(NamedTuple):
    """Home or workplace of each car.

    place : int32 (n,), row among the map's places, -1 outside the map or none
    node : int32 (n,), network node, -1 none
    """

    place: NDArray[np.int32]
    node: NDArray[np.int32]


def crow_scale_m(market: str) -> float:
    """Length of the gravity model's exponential, m of crow-fly distance.

    On an even plane the distance of a draw with weight exp(-d/D) has density
    d exp(-d/D)/D^2, whose median is 1.678 D.
    """
    commute = load("population")["commute"]
    return float(1000.0 * commute[f"{market}_km"] / commute["detour"] / 1.678)


def draw_homes(city: CityMap, cars: int, *, outside_share: float, seed: int) -> Places:
    """Homes by the places' weights; a share of `outside_share` / 2 on the approach roads.

    Raises
    ------
    PopulationError
        When the map has no homes.
    """
    rows = city.places("home")
    weight = city.place_weight[rows].astype(float)
    if not weight.sum() > 0:
        raise PopulationError("the map has no homes (places of kind home with a weight above 0)")
    u = chance(seed, Stream.HOME, np.arange(cars), 0)
    place = rows[_pick(np.cumsum(weight), u)].astype(np.int32)
    node = city.place_node[place].copy()
    if len(city.outside_node):
        away = chance(seed, Stream.HOME, np.arange(cars), 1) < outside_share / 2
        picked = _pick(
            np.cumsum(city.outside_km * np.exp(-city.outside_km / 15.0)), chance(seed, Stream.HOME, np.arange(cars), 2)
        )
        place[away] = -1
        node[away] = city.outside_node[picked[away]]
    return Places(place, node)


def draw_work(city: CityMap, homes: Places, *, market: str, outside_share: float, seed: int) -> Places:
    """Workplaces by gravity: probability proportional to weight times exp(-distance/D).

    Distance is counted from the home's cell of a square grid to each workplace's cell
    (24 cells along the map's longer side), so a city of any size costs one table. A
    share `outside_share` works on the approach roads, at a distance drawn alike.
    """
    cars = len(homes.place)
    place, node = np.full(cars, -1, np.int32), np.full(cars, -1, np.int32)
    rows = city.places("work")
    rows = rows[city.place_weight[rows] > 0]
    car = np.arange(cars)
    scale = crow_scale_m(market)
    if len(rows):
        x, y = city.network.node_x[homes.node], city.network.node_y[homes.node]
        place[:] = rows[_gravity(city, rows, x, y, scale, chance(seed, Stream.WORK, car, 0))]
        node[:] = city.place_node[place]
    if len(city.outside_node):
        away = chance(seed, Stream.WORK, car, 1) < outside_share
        scale_km = scale * load("population")["commute"]["detour"] / 1000.0
        weight = city.outside_km * np.exp(-city.outside_km / scale_km)
        picked = city.outside_node[_pick(np.cumsum(weight), chance(seed, Stream.WORK, car, 2))]
        away &= picked != homes.node
        place[away], node[away] = -1, picked[away]
    return Places(place, node)


def _pick(cumulative: NDArray[np.float64], u: NDArray[np.float64]) -> NDArray[np.int64]:
    """Index of each draw in a running sum of weights."""
    found: NDArray[np.int64] = np.searchsorted(cumulative, u * cumulative[-1], side="right")
    found[found == len(cumulative)] -= 1
    return found


def _gravity(
    city: CityMap,
    rows: NDArray[np.int64],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    scale: float,
    u: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Index into `rows` for each home at x, y."""
    px, py = city.place_x[rows].astype(float), city.place_y[rows].astype(float)
    left, low = px.min(), py.min()
    size = max(_CELL_MIN_M, max(np.ptp(px), np.ptp(py)) / _CELLS)
    wide = int(np.ptp(px) / size) + 1
    high = int(np.ptp(py) / size) + 1
    cell = ((py - low) / size).astype(np.int64) * wide + ((px - left) / size).astype(np.int64)
    order = np.argsort(cell, kind="stable")
    running = np.cumsum(city.place_weight[rows[order]].astype(float))
    used, first = np.unique(cell[order], return_index=True)
    start = np.concatenate([[0.0], running])[first]
    weight = np.diff(np.concatenate([start, running[-1:]]))
    # homes may lie beyond the workplaces' box: cells of the same grid, counted from its corner
    home_x, home_y = np.floor((x - left) / size), np.floor((y - low) / size)
    home_x, home_y = np.clip(home_x, -2 * wide, 3 * wide), np.clip(home_y, -2 * high, 3 * high)
    spots, which = np.unique(np.column_stack([home_x, home_y]), axis=0, return_inverse=True)
    which = which.ravel()
    across = (used % wide)[None, :] - spots[:, :1]
    up = (used // wide)[None, :] - spots[:, 1:]
    distance = size * np.hypot(across, up)
    distance[distance == 0] = 0.52 * size  # mean distance of two points of a unit square
    # only differences count, and the nearest cell's weight must not underflow for a home far away
    pull = weight * np.exp(-(distance - distance.min(axis=1, keepdims=True)) / scale)
    table = np.cumsum(pull, axis=1)
    target = u * table[which, -1]
    column = np.empty(len(u), np.int64)
    by_spot = np.argsort(which, kind="stable")
    edges = np.searchsorted(which[by_spot], np.arange(len(spots) + 1))
    for spot in range(len(spots)):
        mine = by_spot[edges[spot] : edges[spot + 1]]
        column[mine] = np.searchsorted(table[spot], target[mine], side="right")
    column = np.minimum(column, len(used) - 1)
    # what is left of u inside the cell's slice is uniform again: it picks the workplace
    before = np.where(column > 0, table[which, column - 1], 0.0)
    rest = (target - before) / pull[which, column]
    within = np.searchsorted(running, start[column] + np.clip(rest, 0.0, 1.0) * weight[column], side="right")
    last = np.concatenate([first[1:], [len(rows)]])[column] - 1
    picked: NDArray[np.int64] = order[np.clip(within, first[column], last)]
    return picked
