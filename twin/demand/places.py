"""Where journeys may end: places by what people do there, and nodes beyond the map's edge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maps.network import OUTSIDE, PLACE_KINDS, ROAD_CLASSES, CityMap
from twin.demand.distance import Distances
from twin.facts import load

GROUPS = (("shop",), ("leisure",), ("school", "shop", "leisure"), ("work",))
"""Kinds of places that serve shopping, leisure, errands and business, in this order."""

GROUP_OF = np.array([-1, -1, 0, 1, 2, 3])
"""Row of GROUPS for every purpose (home and work have their own places)."""


@dataclass(frozen=True, eq=False)
class Attraction:
    """Places to visit, by group and by square cell, as the kernels want them.

    Attributes
    ----------
    group_cell, group_spot : ndarray of int64, shape (5,)
        Cells and spots of group g are rows `[g]:[g + 1]`.
    spots : ndarray of float64, shape (n, 4)
        East, north (m), weight, node; one row per group and node.
    cells : ndarray of float64, shape (m, 3)
        East, north, radius that holds all spots of the cell, m.
    ptr : ndarray of int64
        Spots of cell c of group g, counted from the group's first: `ptr[c + g]:ptr[c + g + 1]`.
    """

    group_cell: NDArray[np.int64]
    group_spot: NDArray[np.int64]
    spots: NDArray[np.float64]
    cells: NDArray[np.float64]
    ptr: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Rings:
    """Nodes of approach roads by gate, near ones first; gates weighted by the traffic their road carries."""

    gate_cum: NDArray[np.float64]
    ptr: NDArray[np.int64]
    node: NDArray[np.int64]


def attraction(city: CityMap) -> Attraction:
    """Gather places into groups; where a map lacks a kind, other places or any street stand in."""
    cells, spots, ptr = [], [], []
    group_cell, group_spot = [0], [0]
    for kinds in GROUPS:
        node, weight = _nodes(city, kinds)
        x, y = city.network.node_x[node], city.network.node_y[node]
        row, order, centre = _cells(x, y)
        cells.append(centre)
        spots.append(np.column_stack([x, y, weight, node])[order])
        ptr.append(np.searchsorted(row[order], np.arange(len(centre) + 1)))
        group_cell.append(group_cell[-1] + len(centre))
        group_spot.append(group_spot[-1] + len(node))
    return Attraction(
        np.array(group_cell, np.int64),
        np.array(group_spot, np.int64),
        np.ascontiguousarray(np.concatenate(spots), np.float64),
        np.ascontiguousarray(np.concatenate(cells), np.float64),
        np.concatenate(ptr).astype(np.int64),
    )


def rings(city: CityMap, distances: Distances) -> Rings:
    """All nodes of approach roads, also those between the map's outside nodes; empty where it has none."""
    node = np.flatnonzero(distances.gate >= 0)
    gate = distances.gate[node]
    order = np.lexsort((distances.beyond_m[node], gate))
    ptr = np.searchsorted(gate[order], np.arange(len(city.gate_node) + 1))
    weight = np.where(np.diff(ptr) > 0, gate_flow(city), 0.0)
    return Rings(np.cumsum(weight), ptr.astype(np.int64), node[order].astype(np.int64))


def lane_flow(city: CityMap) -> NDArray[np.float64]:
    """Vehicles per lane and day that are normal on each link's class (days.toml [other_traffic])."""
    facts = load("days")["other_traffic"]["vehicles_per_lane_day"]
    return np.array([float(facts[name]) for name in ROAD_CLASSES])[city.network.link_class]


def gate_flow(city: CityMap) -> NDArray[np.float64]:
    """Vehicles per day on the busiest street of the extract at each gate."""
    network = city.network
    flow = np.where(network.has(OUTSIDE), 0.0, lane_flow(city) * network.link_lanes)
    busiest = np.zeros(network.n_nodes)
    np.maximum.at(busiest, network.link_from, flow)
    np.maximum.at(busiest, network.link_to, flow)
    return np.maximum(busiest[city.gate_node], 1.0)


def _nodes(city: CityMap, kinds: tuple[str, ...]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Distinct nodes of places of these kinds and their summed weights."""
    usable = city.place_weight > 0
    of_kind = np.isin(city.place_kind, [PLACE_KINDS.index(kind) for kind in kinds])
    for mine in (of_kind & usable, (city.place_kind != PLACE_KINDS.index("home")) & usable, usable):
        if np.unique(city.place_node[mine]).size > 1:
            node, row = np.unique(city.place_node[mine], return_inverse=True)
            return node.astype(np.int64), np.bincount(row, city.place_weight[mine]).astype(np.float64)
    inside = np.unique(city.network.link_from[~city.network.has(OUTSIDE)])
    return inside.astype(np.int64), np.ones(len(inside))


def _cells(
    x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Square cells of some ten spots: cell of each spot, order by cell, centre and radius of each cell."""
    wanted = max(1.0, len(x) / 10)
    side = max(50.0, float(np.sqrt(max(np.ptp(x), 1.0) * max(np.ptp(y), 1.0) / wanted)))
    column = np.floor((x - x.min()) / side).astype(np.int64)
    line = np.floor((y - y.min()) / side).astype(np.int64)
    _, row = np.unique(column * (line.max() + 1) + line, return_inverse=True)
    many = np.bincount(row)
    centre = np.column_stack([np.bincount(row, x) / many, np.bincount(row, y) / many, np.zeros(len(many))])
    np.maximum.at(centre[:, 2], row, np.hypot(x - centre[row, 0], y - centre[row, 1]))
    return row.astype(np.int64), np.argsort(row, kind="stable"), centre
