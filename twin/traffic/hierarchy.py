"""The contraction hierarchy of a road network: built once, weighed again whenever travel times change."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maps.network import RoadNetwork
from twin.traffic import hierarchy_kernels as k
from twin.traffic import order_kernels

# Porto's mean search space by directions and shares: 3,882 arcs (2; 0.25), 3,436 (4; 0.15, 0.3), 3,367 (8; 0.15, 0.3)
# after 0.4, 1.4 and 2.5 s of ordering
DIRECTIONS = np.arange(4) * np.pi / 4
"""Angles along which separators are sought, rad."""
HELD = np.array([0.15, 0.3])
"""Shares of the nodes that a separator must keep apart, tried in turn."""
LEAF = 2
"""Parts of so many nodes are not divided any further."""


class Arcs(NamedTuple):
    """A weighed hierarchy, as the search reads it; nodes are ranks, a higher one is contracted later.

    Attributes
    ----------
    enter, arrive : int32, shape (n_nodes,)
        Rank where a trip from, and to, a node of the network begins and ends.
    head : int32, shape (n_links,)
        Rank that each link leads to.
    parent : int32, shape (n,)
        Elimination tree; n for a root.
    up_ptr, up_head, up_tail : int64 (n + 1,), uint32 (arcs,), int32 (arcs,)
        Upward arcs; unsigned where it spares the inner loop a check for negative indices.
    weight, first, second : int32, shape (2, arcs)
        See `hierarchy_kernels.customise`.
    """

    enter: NDArray[np.int32]
    arrive: NDArray[np.int32]
    head: NDArray[np.int32]
    parent: NDArray[np.int32]
    up_ptr: NDArray[np.int64]
    up_head: NDArray[np.uint32]
    up_tail: NDArray[np.int32]
    weight: NDArray[np.int32]
    first: NDArray[np.int32]
    second: NDArray[np.int32]


class Hierarchy:
    """Customizable contraction hierarchy in which some turns are forbidden.

    The end of a link in `careful` is a place of its own, from which only the turns that are
    allowed go on; the ends of all other links are one node, from which every link goes on.

    Parameters
    ----------
    network : RoadNetwork
    turn_ptr, turn_link : array
        Links that may follow each link.
    careful : int array
        Links whose turns are modelled.
    """

    def __init__(
        self,
        network: RoadNetwork,
        turn_ptr: NDArray[np.int64],
        turn_link: NDArray[np.int32],
        *,
        careful: NDArray[np.int64],
    ) -> None:
        n, m, c = network.n_nodes, network.n_links, len(careful)
        place = network.link_to[careful]
        # where links with a place of their own end, arrivals from all sides meet in one more node
        met, which = np.unique(place, return_inverse=True)
        head = network.link_to.astype(np.int64)
        head[careful] = n + np.arange(c)
        arrive = np.arange(n)
        arrive[met] = n + c + np.arange(len(met))
        size = n + c + len(met)
        node_of = np.concatenate([np.arange(n), place, met])

        turns = turn_ptr[careful + 1] - turn_ptr[careful]
        at = np.repeat(turn_ptr[careful] - np.cumsum(turns) + turns, turns) + np.arange(turns.sum())
        onward = turn_link[at].astype(np.int64)
        link = np.concatenate([np.arange(m), onward, np.full(c + len(met), -1)])
        tail = np.concatenate([network.link_from, n + np.repeat(np.arange(c), turns), n + np.arange(c), met])
        to = np.concatenate([head, head[onward], n + c + which, arrive[met]])
        apart = tail != to
        link, tail, to = link[apart], tail[apart], to[apart]

        rank = _ranks(size, tail, to, network.node_x[node_of], network.node_y[node_of])
        low, high = np.minimum(rank[tail], rank[to]), np.maximum(rank[tail], rank[to])
        parent = np.empty(size, np.int32)
        up_ptr, up_head = k.contract(*_neighbours(size, low, high), parent)
        self._opposite = k.triangles(up_ptr, up_head)
        self._edge_link = link.astype(np.int32)
        self._edge_way = (rank[tail] > rank[to]).astype(np.int8)
        self._edge_arc = np.empty(len(link), np.int32)
        k.find_arcs(low, high, up_ptr, up_head, self._edge_arc)
        arcs = len(up_head)
        self.arcs = Arcs(
            enter=rank[:n].astype(np.int32),
            arrive=rank[arrive].astype(np.int32),
            head=rank[head].astype(np.int32),
            parent=parent,
            up_ptr=up_ptr,
            up_head=up_head.astype(np.uint32),
            up_tail=np.repeat(np.arange(size, dtype=np.int32), np.diff(up_ptr)),
            weight=np.full((2, arcs), k.CLOSED, np.int32),
            first=np.full((2, arcs), -1, np.int32),
            second=np.full((2, arcs), -1, np.int32),
        )

    def another(self) -> Arcs:
        """The same arcs with weights of their own, for `customise`."""
        like = self.arcs.weight
        return self.arcs._replace(weight=np.empty_like(like), first=np.empty_like(like), second=np.empty_like(like))

    def customise(self, cost_ms: NDArray[np.int64], arcs: Arcs | None = None) -> None:
        """Weigh all arcs, or those from `another`, by the costs of links."""
        a = self.arcs if arcs is None else arcs
        k.customise(
            self._edge_link, self._edge_arc, self._edge_way, cost_ms,
            a.up_ptr, self._opposite, a.weight, a.first, a.second,
        )  # fmt: skip


def _neighbours(size: int, a: NDArray[np.int64], b: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Sorted neighbours of every node, each once, in both directions."""
    pair = np.unique(np.concatenate([a * size + b, b * size + a]))
    ptr = np.concatenate([[0], np.cumsum(np.bincount(pair // size, minlength=size))]).astype(np.int64)
    return ptr, (pair % size).astype(np.int32)


def _ranks(
    size: int, tail: NDArray[np.int64], to: NDArray[np.int64], x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Position of every node in the order of contraction."""
    ptr, adjacent = _neighbours(size, tail, to)
    order = np.empty(size, np.int64)
    begin = order_kernels.peel(ptr, adjacent, order)
    rest = order[begin:]
    along = np.array([rest[np.argsort(x[rest] * np.cos(a) + y[rest] * np.sin(a), kind="stable")] for a in DIRECTIONS])
    order_kernels.dissect(ptr, adjacent, along, HELD, LEAF)
    order[begin:] = along[0]
    rank = np.empty(size, np.int64)
    rank[order] = np.arange(size)
    return rank
