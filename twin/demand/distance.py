"""Road distance from crow-fly distance, calibrated on the real network.

Choosing a destination needs millions of distances, far too many to route. So the length
of fastest paths from a sample of nodes is measured once and kept as a curve: metres as the
crow flies to metres on the road. Nodes on approach roads count from their gate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, dijkstra

from maps.network import OUTSIDE, CityMap, RoadNetwork
from twin.chance import Stream, chance
from twin.demand.kernels import path_length

KNOTS = 12
WORK = 2_500_000  # node labels that the sample may cost, some two seconds


@dataclass(frozen=True, eq=False)
class Distances:
    """Estimated driving distance between any two nodes.

    Attributes
    ----------
    crow_m, road_m : ndarray of float64, shape (k,)
        Knots of the curve from crow-fly to road distance; both ascend from 0.
    x, y : ndarray of float64, shape (n_nodes,)
        Where the node's traffic meets the extract, m: itself, or its gate.
    beyond_m : ndarray of float64, shape (n_nodes,)
        Road distance from there to the node; 0 inside.
    gate : ndarray of int32, shape (n_nodes,)
        Gate of an outside node, -1 inside.
    inside_mps, outside_mps : float
        Free speed of journeys inside (crow-calibrated road metres over fastest time) and on approach roads.
    sampled : int
        Pairs that the curve rests on.
    """

    crow_m: NDArray[np.float64]
    road_m: NDArray[np.float64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    beyond_m: NDArray[np.float64]
    gate: NDArray[np.int32]
    inside_mps: float
    outside_mps: float
    sampled: int

    def between(
        self, a: NDArray[np.integer], b: NDArray[np.integer]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Estimated metres inside the extract and on approach roads from nodes `a` to nodes `b`."""
        crow = np.hypot(self.x[a] - self.x[b], self.y[a] - self.y[b])
        same = (self.gate[a] == self.gate[b]) & (self.gate[a] >= 0)
        beyond = np.where(same, np.abs(self.beyond_m[a] - self.beyond_m[b]), self.beyond_m[a] + self.beyond_m[b])
        return np.where(same, 0.0, self.road(crow)), beyond

    def road(self, crow_m: NDArray[np.float64]) -> NDArray[np.float64]:
        """Road metres for crow-fly metres; beyond the last knot the last detour factor holds."""
        factor = self.road_m[-1] / self.crow_m[-1]
        return np.where(crow_m > self.crow_m[-1], crow_m * factor, np.interp(crow_m, self.crow_m, self.road_m))


def calibrate(city: CityMap, sources: NDArray[np.integer], targets: NDArray[np.integer], *, seed: int = 0) -> Distances:
    """Measure fastest paths between samples of nodes and fit the curve.

    Parameters
    ----------
    city : CityMap
        Network, gates and outside nodes.
    sources, targets : ndarray of int
        Nodes where journeys begin and end, repeated as often as they matter.
    seed : int
        Picks the sample.

    Returns
    -------
    Distances
        With a monotone curve; a map too small to sample gives the straight line.
    """
    network = city.network
    inside, x, y, beyond_m, gate = _gates(city)
    sources, targets = _inside(sources, inside), _inside(targets, inside)
    count = int(np.clip(WORK // network.n_nodes, 12, 64))
    picked = _pick(sources, count, seed, 0)
    ends = np.unique(_pick(targets, 3000, seed, 1))
    length_m, seconds = fastest(network, np.unique(picked))
    start = np.unique(picked)
    crow = np.hypot(x[start][:, None] - x[ends][None, :], y[start][:, None] - y[ends][None, :]).ravel()
    road, time = length_m[:, ends].ravel(), seconds[:, ends].ravel()
    good = np.isfinite(time) & (crow > 1.0)
    crow, road, time = crow[good], road[good], time[good]
    speed = float(np.average(network.link_speed, weights=network.link_length))
    knots_crow, knots_road = np.array([0.0, 1000.0]), np.array([0.0, 1300.0])
    if len(crow) >= 2 * KNOTS:
        knots_crow, knots_road = _curve(crow, road)
        speed = float(road.sum() / time.sum())
    out = network.has(OUTSIDE)
    outside_mps = float(network.link_length[out].sum() / network.link_free_s[out].sum()) if out.any() else speed
    return Distances(knots_crow, knots_road, x, y, beyond_m, gate, speed, outside_mps, len(crow))


def fastest(network: RoadNetwork, sources: NDArray[np.integer]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Metres and seconds of the fastest free-flow paths from `sources` to every node.

    Returns
    -------
    length_m, seconds : ndarray of float64, shape (len(sources), n_nodes)
        Infinite where there is no path. Forbidden turns are not looked at.
    """
    # a sparse matrix would add parallel links up: keep the fastest of each pair
    order = np.lexsort((network.link_free_s, network.link_to, network.link_from))
    tail, head = network.link_from[order], network.link_to[order]
    first = np.append(True, (tail[1:] != tail[:-1]) | (head[1:] != head[:-1]))
    tail, head, keep = tail[first], head[first], order[first]
    ptr = np.searchsorted(tail, np.arange(network.n_nodes + 1)).astype(np.int64)
    graph = csr_array((network.link_free_s[keep], head, ptr), shape=(network.n_nodes, network.n_nodes))
    seconds, before = dijkstra(graph, indices=np.asarray(sources), return_predecessors=True)
    length_m = np.full(seconds.shape, np.inf)
    for row in range(len(seconds)):
        ahead = np.argsort(seconds[row], kind="stable")
        path_length(ahead, before[row], ptr, head, network.link_length[keep], length_m[row])
        length_m[row][~np.isfinite(seconds[row])] = np.inf
    return length_m, seconds


def _gates(
    city: CityMap,
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.int32]]:
    network = city.network
    streets, n = ~network.has(OUTSIDE), network.n_nodes
    inside = np.zeros(n, np.bool_)
    inside[network.link_from[streets]] = inside[network.link_to[streets]] = True
    x, y = network.node_x.copy(), network.node_y.copy()
    beyond_m, gate = np.zeros(n), np.full(n, -1, np.int32)
    # every node of an approach road belongs to the gate whose outside nodes hang on the same chain
    away = ~streets & ~inside[network.link_from] & ~inside[network.link_to]
    joined = csr_array((np.ones(away.sum()), (network.link_from[away], network.link_to[away])), shape=(n, n))
    _, chain = connected_components(joined, directed=False)
    owner = np.full(n, -1, np.int32)
    owner[chain[city.outside_node]] = city.outside_gate
    outer = np.flatnonzero(~inside)
    gate[outer] = owner[chain[outer]]
    outer = outer[gate[outer] >= 0]
    out_to = ~streets
    roads = csr_array((network.link_length[out_to], (network.link_from[out_to], network.link_to[out_to])), shape=(n, n))
    for g in np.unique(gate[outer]):
        mine, at = outer[gate[outer] == g], city.gate_node[g]
        metres = dijkstra(roads, indices=at)[mine]
        reached = np.isfinite(metres)
        beyond_m[mine[reached]] = metres[reached]
        x[mine], y[mine] = network.node_x[at], network.node_y[at]
        gate[mine[~reached]] = -1
    beyond_m[city.outside_node] = city.outside_km.astype(np.float64) * 1000
    gate[city.outside_node] = city.outside_gate
    x[city.outside_node] = network.node_x[city.gate_node[city.outside_gate]]
    y[city.outside_node] = network.node_y[city.gate_node[city.outside_gate]]
    return inside, x, y, beyond_m, gate


def _inside(nodes: NDArray[np.integer], inside: NDArray[np.bool_]) -> NDArray[np.integer]:
    kept = nodes[inside[nodes]]
    return kept if len(kept) else np.flatnonzero(inside)


def _pick(nodes: NDArray[np.integer], count: int, seed: int, part: int) -> NDArray[np.integer]:
    if len(nodes) <= count:
        return nodes
    u = chance(seed, Stream.DISTANCE, np.arange(count), part)
    return nodes[(u * len(nodes)).astype(np.int64)]


def _curve(crow: NDArray[np.float64], road: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean road distance by classes of crow-fly distance, made to ascend."""
    edges = np.unique(np.quantile(crow, np.linspace(0, 1, KNOTS + 1)))
    row = np.clip(np.searchsorted(edges, crow, side="right") - 1, 0, len(edges) - 2)
    many = np.bincount(row, minlength=len(edges) - 1)
    used = many > 0
    mean_crow = np.bincount(row, crow, len(edges) - 1)[used] / many[used]
    mean_road = np.bincount(row, road, len(edges) - 1)[used] / many[used]
    mean_road = np.maximum.accumulate(np.maximum(mean_road, mean_crow))
    rising = np.append(True, np.diff(mean_road) > 0)
    return np.append(0.0, mean_crow[rising]), np.append(0.0, mean_road[rising])
