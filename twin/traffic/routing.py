"""Routes: cheapest paths over links on current travel times, forbidden turns respected."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from maps.network import RoadNetwork
from twin.traffic import routing_kernels as k


class Routes(NamedTuple):
    """Routes of n queries.

    Attributes
    ----------
    ptr : shape (n + 1,)
        Route i is `links[ptr[i]:ptr[i+1]]`, empty unless `found[i]`.
    links : int32
    status : uint8, shape (n,)
        FOUND, NO_ROUTE or SAME_NODE of `twin.traffic.routing_kernels`.
    """

    ptr: NDArray[np.int64]
    links: NDArray[np.int32]
    status: NDArray[np.uint8]

    @property
    def found(self) -> NDArray[np.bool_]:
        """Which queries have a route."""
        return np.asarray(self.status == k.FOUND)

    def only(self, keep: NDArray[np.bool_]) -> Routes:
        """Keep the queries selected by a mask."""
        lengths = np.diff(self.ptr)
        ptr = np.concatenate([[0], np.cumsum(lengths[keep])]).astype(np.int64)
        return Routes(ptr, self.links[np.repeat(keep, lengths)], self.status[keep])

    def replaced(self, chosen: NDArray[np.bool_], other: Routes) -> Routes:
        """Put the queries of `other`, in order, in the place of the chosen ones."""
        lengths, status = np.diff(self.ptr), self.status.copy()
        starts = self.ptr[:-1].copy()
        lengths[chosen], status[chosen] = np.diff(other.ptr), other.status
        starts[chosen] = self.ptr[-1] + other.ptr[:-1]
        ptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        picks = np.repeat(starts - ptr[:-1], lengths) + np.arange(ptr[-1])
        return Routes(ptr, np.concatenate([self.links, other.links])[picks], status)

    def totals(self, per_link: NDArray[np.generic]) -> NDArray[np.float64]:
        """Sum of a link attribute over each route."""
        run = np.concatenate([[0.0], np.cumsum(per_link[self.links].astype(np.float64))])
        return np.asarray(run[self.ptr[1:]] - run[self.ptr[:-1]])


def turns(network: RoadNetwork) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Links that may follow each link: `turn_link[turn_ptr[i]:turn_ptr[i+1]]`.

    Forbidden turns are left out, and turning round is allowed only where nothing else is.
    """
    heads = network.link_to
    counts = network.out_ptr[heads + 1] - network.out_ptr[heads]
    source = np.repeat(np.arange(network.n_links), counts)
    offset = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    onto = network.out_ptr[heads[source]] + offset
    size = np.int64(network.n_links)
    banned = np.isin(source * size + onto, network.ban_from * size + network.ban_to)
    back = network.link_to[onto] == network.link_from[source]
    ahead = np.bincount(source[~banned & ~back], minlength=network.n_links)
    keep = ~banned & (~back | (ahead[source] == 0))
    # where every way on is forbidden the map is wrong; a car may then turn round
    stuck = np.bincount(source[keep], minlength=network.n_links) == 0
    keep |= stuck[source] & back
    ptr = np.concatenate([[0], np.cumsum(np.bincount(source[keep], minlength=network.n_links))]).astype(np.int64)
    return ptr, onto[keep].astype(np.int32)


class Router:
    """Answers many origin-destination queries on one network.

    Parameters
    ----------
    network : RoadNetwork
    free_ms : int64, shape (n_links,)
        Lower bound of every cost that `routes` will be given; landmark bounds rest on it.
    landmarks : int
        More make single searches faster and setting up slower.

    Examples
    --------
    >>> from maps.toy import corridor
    >>> road = corridor(3, both_ways=True)
    >>> free = (road.link_free_s * 1000).astype(int)
    >>> routes = Router(road, free).routes([0], [3], free)
    >>> road.link_to[routes.links].tolist()
    [1, 2, 3]
    """

    def __init__(self, network: RoadNetwork, free_ms: NDArray[np.int64], *, landmarks: int = 8) -> None:
        self.network = network
        self._turn_ptr, self._turn_link = turns(network)
        self._free_ms = np.asarray(free_ms, np.int64)
        self._to, self._from = _landmarks(network, self._free_ms, min(landmarks, network.n_nodes))
        n = network.n_links
        self._label = np.zeros(n, np.int64)
        self._parent = np.zeros(n, np.int32)
        self._stamp = np.zeros(n, np.int64)
        self._heap = np.empty(len(self._turn_link) + n + 8, np.int64)
        self._epoch = 0

    def routes(self, origins: ArrayLike, targets: ArrayLike, cost_ms: NDArray[np.int64]) -> Routes:
        """Cheapest routes between nodes.

        Parameters
        ----------
        origins, targets : array of int, shape (n,)
            Nodes.
        cost_ms : int64, shape (n_links,)
            Travel time per link now, ms, at least `free_ms`.

        Raises
        ------
        ValueError
            When a cost lies below its bound, so that a route could be wrong.
        """
        start, goal = np.asarray(origins, np.int32), np.asarray(targets, np.int32)
        if np.any(cost_ms < self._free_ms):
            raise ValueError("a link cost is below the free-flow time the router was built with")
        n = len(start)
        ptr, status = np.zeros(n + 1, np.int64), np.zeros(n, np.uint8)
        links = np.empty(max(1024, 64 * n), np.int32)
        done = 0
        while True:
            part = ptr[done:]
            done += k.search(
                start[done:], goal[done:], cost_ms, self.network.link_to, self.network.out_ptr, self._turn_ptr,
                self._turn_link, self._to, self._from, self._label, self._parent, self._stamp, self._heap,
                self._epoch, part, links, status[done:],
            )  # fmt: skip
            self._epoch += n + 1
            if done == n:
                return Routes(ptr, links[: ptr[n]], status)
            links = np.concatenate([links, np.empty_like(links)])


def _landmarks(
    network: RoadNetwork, free_ms: NDArray[np.int64], count: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Times from every node to each landmark and back, ms, rounded so that bounds stay bounds."""
    n = network.n_nodes
    # parallel links: csr_matrix would add them up, so keep the fastest of each pair
    pair = network.link_from.astype(np.int64) * n + network.link_to
    order = np.lexsort((free_ms, pair))
    first = order[np.concatenate([[True], np.diff(pair[order]) > 0])]
    rows, columns = network.link_from[first], network.link_to[first]
    weights = np.maximum(free_ms[first], 1).astype(np.float64)
    out = csr_matrix((weights, (rows, columns)), shape=(n, n))
    back = csr_matrix((weights, (columns, rows)), shape=(n, n))
    chosen: list[int] = []
    nearest = np.full(n, np.inf)
    candidate = int(np.argmax(network.node_x + network.node_y))
    away, home = [], []
    for _ in range(count):
        chosen.append(candidate)
        away.append(dijkstra(out, indices=candidate))
        home.append(dijkstra(back, indices=candidate))
        nearest = np.minimum(nearest, np.minimum(away[-1], home[-1]))
        candidate = int(np.argmax(np.where(np.isfinite(nearest), nearest, -1)))
    limit = float(2**30)
    # where only one of two nodes reaches a landmark, neither reaches the other that way: a huge bound is right
    to_mark = np.minimum(np.array(home), limit).T.astype(np.int32)
    from_mark = np.minimum(np.array(away), limit).T.astype(np.int32)
    return np.ascontiguousarray(to_mark), np.ascontiguousarray(from_mark)
