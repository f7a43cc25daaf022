"""Routes: cheapest paths over links on current travel times, forbidden turns respected."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from maps.network import RoadNetwork
from twin.traffic import routing_kernels as k
from twin.traffic.hierarchy import Arcs, Hierarchy
from twin.traffic.hierarchy_kernels import CLOSED


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
        rows = np.arange(len(self.status))
        rows[chosen] = len(rows) + np.arange(len(other.status))
        return Routes.joined([self, other]).take(rows)

    def take(self, rows: NDArray[np.int64]) -> Routes:
        """The queries at `rows`, in that order."""
        starts, lengths = self.ptr[:-1][rows], np.diff(self.ptr)[rows]
        ptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        picks = np.repeat(starts - ptr[:-1], lengths) + np.arange(ptr[-1])
        return Routes(ptr, self.links[picks], self.status[rows])

    @classmethod
    def joined(cls, parts: Sequence[Routes]) -> Routes:
        """Batches one behind the other."""
        offsets = np.cumsum([0, *(len(routes.links) for routes in parts)])
        ptr = [routes.ptr[1:] + offset for routes, offset in zip(parts, offsets, strict=False)]
        return cls(
            np.concatenate([np.zeros(1, np.int64), *ptr]),
            np.concatenate([np.empty(0, np.int32), *(routes.links for routes in parts)]),
            np.concatenate([np.empty(0, np.uint8), *(routes.status for routes in parts)]),
        )

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


def careful_links(network: RoadNetwork, turn_ptr: NDArray[np.int64], turn_link: NDArray[np.int32]) -> NDArray[np.int64]:
    """Links whose turns the hierarchy models: all in front of a forbidden turn."""
    return np.unique(network.ban_from).astype(np.int64)


class Streets(NamedTuple):
    """What the search reads of the network, see `RoadNetwork` and `turns`."""

    link_to: NDArray[np.int32]
    out_ptr: NDArray[np.int64]
    turn_ptr: NDArray[np.int64]
    turn_link: NDArray[np.int32]


class Work(NamedTuple):
    """Working arrays of one thread, never cleared: what a search leaves behind is stamped with its number.

    Attributes
    ----------
    reach, via : int32, shape (2, ranks)
        Cost from the origin and to the target, CLOSED between searches; the arc it came by.
    chain, climb : int64, shape (ranks,)
        A stack of arcs and one of nodes.
    remaining, asked : int64, shape (ranks,)
        Cost to the target, and the search that asked for it.
    label, before, stamp : shape (links,)
        Cost to the end of a link, the link before, the search that set them.
    heap : int64
    epoch, again : int64, shape (1,)
        Number of the search over links, and how many routes were searched again.
    """

    reach: NDArray[np.int32]
    via: NDArray[np.int32]
    chain: NDArray[np.int64]
    climb: NDArray[np.int64]
    remaining: NDArray[np.int64]
    asked: NDArray[np.int64]
    label: NDArray[np.int64]
    before: NDArray[np.int32]
    stamp: NDArray[np.int64]
    heap: NDArray[np.int64]
    epoch: NDArray[np.int64]
    again: NDArray[np.int64]

    @classmethod
    def of(cls, ranks: int, links: int, turns: int) -> Work:
        """Arrays for one thread."""
        return cls(
            reach=np.full((2, ranks), CLOSED, np.int32),
            via=np.zeros((2, ranks), np.int32),
            chain=np.zeros(ranks + 8, np.int64),
            climb=np.zeros(ranks + 8, np.int64),
            remaining=np.zeros(ranks, np.int64),
            asked=np.zeros(ranks, np.int64),
            label=np.zeros(links, np.int64),
            before=np.zeros(links, np.int32),
            stamp=np.zeros(links, np.int64),
            heap=np.zeros(turns + links + 8, np.int64),
            epoch=np.zeros(1, np.int64),
            again=np.zeros(1, np.int64),
        )


class Router:
    """Answers many origin-destination queries on one network.

    The first call with costs that are not among the last `kept` ones weighs the hierarchy
    again, a matter of milliseconds; all following ones only search.

    Parameters
    ----------
    network : RoadNetwork
    free_ms : int64, shape (n_links,)
        Lower bound of every cost that `routes` will be given; a lower one is a fault of the caller.
    threads : int
        How many share a batch; routes are the same for any number.
    kept : int
        How many sets of costs stay weighed, for callers that go back and forth between some.

    Examples
    --------
    >>> from maps.toy import corridor
    >>> road = corridor(3, both_ways=True)
    >>> free = (road.link_free_s * 1000).astype(int)
    >>> routes = Router(road, free).routes([0], [3], free)
    >>> road.link_to[routes.links].tolist()
    [1, 2, 3]
    """

    rebuilt: ClassVar = ("_hierarchy", "_streets", "_work", "_weighed")
    """A function of the network and of the costs asked for: no state of a run (`twin.checkpoint`)."""

    def __init__(self, network: RoadNetwork, free_ms: NDArray[np.int64], *, threads: int = 1, kept: int = 1) -> None:
        self.network = network
        self._free_ms = np.asarray(free_ms, np.int64)
        ptr, onto = turns(network)
        self._streets = Streets(network.link_to, network.out_ptr, ptr, onto)
        self._hierarchy = Hierarchy(network, ptr, onto, careful=careful_links(network, ptr, onto))
        ranks = len(self._hierarchy.arcs.parent)
        self._work = [Work.of(ranks, network.n_links, len(onto)) for _ in range(threads)]
        self._kept = kept
        self._weighed: list[tuple[NDArray[np.int64], Arcs]] = []

    @property
    def searched_again(self) -> int:
        """Routes so far that turned where they must not and were searched again over links."""
        return int(sum(work.again[0] for work in self._work))

    def routes(
        self, origins: ArrayLike, targets: ArrayLike, cost_ms: NDArray[np.int64], *, after: ArrayLike | None = None
    ) -> Routes:
        """Cheapest routes between nodes; of equally cheap ones always the same.

        Parameters
        ----------
        origins, targets : array of int, shape (n,)
            Nodes.
        cost_ms : int64, shape (n_links,)
            Travel time per link now, ms, at least `free_ms`. Routes of 2**30 ms (twelve days)
            or more count as none.
        after : array of int, shape (n,), optional
            Links that lead to the origins, -1 for none: a route begins with an allowed turn from there.

        Raises
        ------
        ValueError
            When a cost lies below its bound.
        """
        start, goal = np.asarray(origins, np.int32), np.asarray(targets, np.int32)
        links = np.full(len(start), -1, np.int32) if after is None else np.asarray(after, np.int32)
        if np.any((links >= 0) & (self.network.link_to[links] != start)):
            raise ValueError("a route shall begin after a link that does not lead to its origin")
        cost, arcs = self._weigh(cost_ms)
        shares = np.linspace(0, len(start), len(self._work) + 1).astype(np.int64)
        cuts = zip(self._work, shares, shares[1:], strict=False)
        parts = [(work, arcs, cost, start[a:b], links[a:b], goal[a:b]) for work, a, b in cuts]
        if len(parts) == 1 or len(start) < 2 * len(parts):
            return self._search(self._work[0], arcs, cost, start, links, goal)
        with ThreadPoolExecutor(len(parts)) as pool:
            found = list(pool.map(lambda part: self._search(*part), parts))
        return Routes.joined(found)

    def _weigh(self, cost_ms: NDArray[np.int64]) -> tuple[NDArray[np.int64], Arcs]:
        """The hierarchy weighed by these costs, the ones used last first."""
        # by content: a caller may have changed the array it gave before
        for i, (known, arcs) in enumerate(self._weighed):
            if np.array_equal(cost_ms, known):
                self._weighed.insert(0, self._weighed.pop(i))
                return known, arcs
        if np.any(cost_ms < self._free_ms):
            raise ValueError("a link cost is below the free-flow time the router was built with")
        if not self._weighed:
            arcs = self._hierarchy.arcs
        else:
            arcs = self._weighed.pop()[1] if len(self._weighed) == self._kept else self._hierarchy.another()
        cost = np.minimum(cost_ms, CLOSED, dtype=np.int64)
        self._hierarchy.customise(cost, arcs)
        self._weighed.insert(0, (cost, arcs))
        return cost, arcs

    def _search(
        self,
        work: Work,
        arcs: Arcs,
        cost: NDArray[np.int64],
        start: NDArray[np.int32],
        after: NDArray[np.int32],
        goal: NDArray[np.int32],
    ) -> Routes:
        n = len(start)
        ptr, status = np.zeros(n + 1, np.int64), np.zeros(n, np.uint8)
        links = np.empty(max(1024, 64 * n), np.int32)
        done = 0
        while True:
            done += k.search(
                arcs, self._streets, work, cost,
                start[done:], after[done:], goal[done:], ptr[done:], links, status[done:],
            )  # fmt: skip
            if done == n:
                return Routes(ptr, links[: ptr[n]], status)
            links = np.concatenate([links, np.empty_like(links)])
