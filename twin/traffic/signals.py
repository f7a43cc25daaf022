"""Fixed-time signals: when the end of a link shows green.

Every junction has a cycle and an offset of its own, every link as many green windows within the cycle as its
program gives it. Plans come from a map's signals (`signal_plan`) or from real programs (`maps.sumo`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from maps.network import SIGNALS, RoadNetwork
from twin.settings import TrafficSettings
from twin.traffic.calendar_kernels import NOBODY
from twin.traffic.junction_kernels import METERED, SIGNAL
from twin.traffic.records import END


class SignalError(ValueError):
    """A green window that does not fit its cycle or its network."""


@dataclass(frozen=True)
class SignalPlan:
    """Green windows, one row each; links without a row have no signal.

    Attributes
    ----------
    link : int64, shape (n_windows,)
        Link whose end shows green; several rows are several windows of one cycle.
    cycle_ms : int64, shape (n_windows,)
        Cycle of the junction, the same in all rows of a link.
    start_ms, stop_ms : int64, shape (n_windows,)
        Start within the cycle (offset included), and end, later by at most a cycle.
    """

    link: NDArray[np.int64]
    cycle_ms: NDArray[np.int64]
    start_ms: NDArray[np.int64]
    stop_ms: NDArray[np.int64]

    @classmethod
    def none(cls) -> SignalPlan:
        """No signals at all."""
        empty = np.empty(0, np.int64)
        return cls(empty, empty, empty, empty)

    def green_share(self, n_links: int) -> NDArray[np.float64]:
        """Share of the time that each link's end shows green, 1 without a signal."""
        share = np.ones(n_links)
        if len(self.link):
            held = np.unique(self.link)
            share[held] = np.bincount(self.link, (self.stop_ms - self.start_ms) / self.cycle_ms, n_links)[held]
        return share

    def write(self, n_links: int, *, metered: bool) -> tuple[NDArray[np.void], NDArray[np.int16]]:
        """Rows for the kernel: what holds at the end of each link, and its control bits.

        With `metered`, nobody stops at red; a green share of g makes headways 1/g times as long instead.

        Raises
        ------
        SignalError
            For windows that do not fit their cycle, overlap, or belong to no link.
        """
        parts = [np.asarray(part, np.int64) for part in (self.link, self.cycle_ms, self.start_ms, self.stop_ms)]
        link, cycle, start, stop = parts
        if any(part.shape != link.shape or part.ndim != 1 for part in parts):
            raise SignalError("a signal plan has one link, cycle, start and end for each green window")
        if len(link) and (link.min() < 0 or link.max() >= n_links):
            raise SignalError(f"a green window belongs to link {link.min()} or {link.max()}, not one of {n_links}")
        # 32-bit times to 24 days and a cycle beyond
        wrong = (cycle < 1) | (cycle > 86_400_000) | (start < 0) | (start >= cycle) | (stop <= start)
        wrong |= stop - start > cycle
        if wrong.any():
            row = int(np.argmax(wrong))
            raise SignalError(
                f"the green window of link {link[row]}, {start[row]} to {stop[row]} ms, does not fit its cycle of "
                f"{cycle[row]} ms"
            )
        order = np.lexsort((start, link))
        link, cycle, start, stop = (part[order] for part in parts)
        again = np.append(link[1:] == link[:-1], False) if len(link) else np.zeros(0, bool)
        here = np.flatnonzero(again)
        if np.any(cycle[here] != cycle[here + 1]) or np.any(stop[here] > start[here + 1]):
            raise SignalError("the green windows of a link have different cycles or overlap")
        first = np.flatnonzero(np.append(True, ~again[:-1])) if len(link) else here
        last = np.flatnonzero(~again)
        if np.any(stop[last] > start[first] + cycle[last]):
            raise SignalError("the green windows of a link have different cycles or overlap")
        ends = np.zeros(n_links + len(link) - len(first), END)
        ends["next_window"] = NOBODY
        ends["stretch_permille"] = 1000
        rows = np.empty(len(link), np.int64)
        rows[first] = link[first]
        rest = np.setdiff1d(np.arange(len(link)), first)
        rows[rest] = n_links + np.arange(len(rest))
        ends["cycle_ms"][rows], ends["start_ms"][rows], ends["stop_ms"][rows] = cycle, start, stop
        ends["next_window"][rows[here]] = rows[here + 1]
        control = np.zeros(n_links, np.int16)
        if metered:
            share = self.green_share(n_links)
            ends["stretch_permille"][:n_links] = np.minimum(np.rint(1000 / share), 1e6)
            control[share < 1] = METERED
        else:
            control[link] = SIGNAL
        return ends, control


def junctions(network: RoadNetwork, nodes: NDArray[np.int64], *, apart_m: float) -> NDArray[np.int64]:
    """Which nodes are one junction: the lowest node within steps of `apart_m`, shape as `nodes`.

    A map draws a large junction as many nodes, one for each carriageway or stop line.
    """
    place = np.stack([network.node_x[nodes], network.node_y[nodes]], axis=1).astype(np.float64)
    near = cKDTree(place).query_pairs(apart_m, output_type="ndarray")
    joined = coo_array((np.ones(len(near), np.int8), near.T), shape=(len(nodes), len(nodes)))
    count, label = connected_components(joined, directed=False)
    lowest = np.full(count, network.n_nodes, np.int64)
    np.minimum.at(lowest, label, nodes)
    return np.asarray(lowest[label])


def signal_plan(network: RoadNetwork, settings: TrafficSettings) -> SignalPlan:
    """Green windows at the map's signals, where no program is known.

    Fixed time, two phases by direction: approaches within 45 degrees of the main axis
    (the best-class, widest approach) and the others. Greens share the cycle, less the lost
    time of both, by the approaches' lanes. A signal with one axis only (a crossing for
    pedestrians) shows green for three quarters. Nodes within `signal_junction_m` are one junction
    with one axis and one plan, so that who starts on green is not stopped on the far carriageway;
    the links inside it count for neither. Offsets spread over the cycle by junction.
    """
    cycle = settings.signal_cycle_s * 1000
    lost = settings.signal_lost_s * 1000
    held = np.flatnonzero(network.node_control[network.link_to] == SIGNALS)
    if not len(held):
        return SignalPlan.none()
    signals = np.unique(network.link_to[held]).astype(np.int64)
    junction = np.full(network.n_nodes, -1, np.int64)
    junction[signals] = junctions(network, signals, apart_m=settings.signal_junction_m)
    last = network.geom_ptr[held + 1] - 1
    bearing = np.arctan2(
        network.geom_y[last] - network.geom_y[last - 1], network.geom_x[last] - network.geom_x[last - 1]
    ).astype(np.float64)
    place = junction[network.link_to[held]]
    inner = junction[network.link_from[held]] == place
    order = np.lexsort((held, -network.link_lanes[held].astype(int), network.link_class[held], inner, place))
    held, bearing, place, inner = held[order], bearing[order], place[order], inner[order]
    nodes, first, counts = np.unique(place, return_index=True, return_counts=True)
    axis = np.repeat(bearing[first], counts)
    turn = np.abs((bearing - axis + np.pi / 2) % np.pi - np.pi / 2)
    second = turn > np.pi / 4
    group = np.repeat(np.arange(len(nodes)), counts)
    # a junction that is left by nothing but its own links still has an axis
    lanes = np.where(inner & ~inner[first][group], 0.0, network.link_lanes[held].astype(np.float64))
    main = np.bincount(group, lanes * ~second, len(nodes))
    side = np.bincount(group, lanes * second, len(nodes))
    usable = cycle - 2 * lost
    share = np.clip(main / (main + side), 0.25, 0.75)
    green_main = np.rint(usable * share).astype(np.int64)
    offset = (nodes * 7919) % settings.signal_cycle_s * 1000
    begin = offset[group] + np.where(second, green_main[group] + lost, 0)
    length = np.where(second, usable - green_main[group], green_main[group])
    alone = (np.bincount(group, second, len(nodes)) == 0)[group]
    length = np.where(alone, cycle * 3 // 4, length)
    begin = begin % cycle
    stops = ~inner | inner[first][group]
    return SignalPlan(held[stops], np.full(stops.sum(), cycle, np.int64), begin[stops], (begin + length)[stops])
