"""Who gives way to whom where streams meet: gap acceptance at junctions and shares of a merge.

A vehicle without right of way goes when no head vehicle of a conflicting stream will be at the conflict within its
critical gap. The engine knows those moments exactly, so streams that drive through in platoons, stop at red or stand
in a queue leave the gaps that they would leave. With random arrivals q this is Harders' capacity
q exp(-q t_c) / (1 - exp(-q t_f)); gaps t_c and follow-up times t_f are those of facts behaviour `give_way`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maps.network import OUTSIDE, RAMP, ROUNDABOUT, SIGNALS, RoadNetwork
from twin import facts
from twin.settings import TrafficSettings
from twin.traffic.junction_kernels import METERED, YIELDS
from twin.traffic.records import FOE
from twin.traffic.signals import SignalError
from twin.traffic.speeds import MOTORWAYS

_SIDE = 0.05  # rad; where traffic of a leg enters and leaves the junction, to either side of its axis
_ACROSS = np.pi / 4  # a turn sharper than this is a turn


@dataclass(frozen=True)
class RightOfWay:
    """Conflicts, one row each: the head of `link`, if it goes on to `mine`, gives way to the head of `foe`.

    Attributes
    ----------
    link, mine : int64, shape (n_rows,)
        Link whose end it holds for, and the link that its vehicle goes on to (-1: any).
    foe, onto : int64, shape (n_rows,)
        Link with right of way, and the link that its vehicle goes on to (-1: any).
    lag_s : float64, shape (n_rows,)
        From the end of `foe` to the conflict.
    gap_s : float64, shape (n_rows,)
        Shortest gap that is taken.
    follow_up_s : float64, shape (n_links,), or None
        Least time between two vehicles of one lane that leave a link in one gap; 0 where its saturation flow holds.
    merge_weight : float64, shape (n_links,), or None
        Priority of each link where several queue for one (Newell and Daganzo's merge), relative to its capacity.
    patience_s : float
        Gaps shrink in proportion to the time waited, and after this long any gap is taken.
    """

    link: NDArray[np.int64]
    mine: NDArray[np.int64]
    foe: NDArray[np.int64]
    onto: NDArray[np.int64]
    lag_s: NDArray[np.float64]
    gap_s: NDArray[np.float64]
    follow_up_s: NDArray[np.float64] | None = None
    merge_weight: NDArray[np.float64] | None = None
    patience_s: float = 180.0

    @classmethod
    def none(cls, *, merge_weight: NDArray[np.float64] | None = None) -> RightOfWay:
        """Nobody gives way; streams share a merge by capacity, or by `merge_weight` of it."""
        whole, part = np.empty(0, np.int64), np.empty(0)
        return cls(whole, whole, whole, whole, part, part, merge_weight=merge_weight)

    def write(
        self, ends: NDArray[np.void], control: NDArray[np.int16], headway_us: NDArray[np.int64]
    ) -> NDArray[np.void]:
        """Add the rules to the rows of `ends` and to `control`; returns the rows of conflicts.

        `headway_us`, shape (n_links,), is the saturation headway of one lane.

        Raises
        ------
        SignalError
            For links that do not exist, or times that are negative or endless.
        """
        n = len(control)
        named = [np.asarray(part, np.int64) for part in (self.link, self.mine, self.foe, self.onto)]
        times = [np.asarray(part, float) for part in (self.lag_s, self.gap_s)]
        if any(part.shape != named[0].shape for part in [*named, *times]):
            raise SignalError("right of way has one link, foe, lag and gap for each conflict")
        for part, low in zip(named, (0, -1, 0, -1), strict=True):
            if np.any((part < low) | (part >= n)):
                raise SignalError(f"right of way names a link that is not one of {n}")
        if not all(np.all((part >= 0) & (part <= 3600)) for part in times) or not 0 < self.patience_s <= 86_400:
            raise SignalError("gaps and lags are 0 to 3600 s, patience is above 0 and at most a day")
        order = np.argsort(named[0], kind="stable")
        rows = np.zeros(len(order), FOE)
        for name, part in zip(("mine", "link", "onto"), named[1:], strict=True):
            rows[name] = part[order]
        for name, seconds in zip(("lag_ms", "gap_ms"), times, strict=True):
            rows[name] = np.rint(seconds[order] * 1000)
        held, first, count = np.unique(named[0][order], return_index=True, return_counts=True)
        ends["first_foe"][held], ends["foes"][held] = first, count
        ends["patience_ms"][held] = max(1, round(self.patience_s * 1000))
        control[held] |= YIELDS
        if self.follow_up_s is not None:
            follow = np.asarray(self.follow_up_s, float)
            if follow.shape != (n,) or not np.all((follow >= 0) & (follow <= 3600)):
                raise SignalError(f"follow-up times need one number from 0 to 3600 s for each of {n} links")
            stretch = np.rint(follow * 1e9 / headway_us)
            slow = np.flatnonzero(stretch > 1000)
            ends["stretch_permille"][slow] = np.minimum(ends["stretch_permille"][slow] * (stretch[slow] / 1000), 1e6)
            control[slow] |= METERED
        return rows

    def turn_cost(self, headway_us: NDArray[np.int64]) -> NDArray[np.int64]:
        """What a turn at a merge costs a link: its headway over its weight, shape (n_links,)."""
        if self.merge_weight is None:
            return np.asarray(headway_us)
        weight = np.asarray(self.merge_weight, float)
        if weight.shape != headway_us.shape or not np.all((weight >= 1e-3) & (weight <= 1e3)):
            raise SignalError(f"merge weights need one number from 0.001 to 1000 for each of {len(headway_us)} links")
        return np.asarray(np.minimum(np.rint(headway_us / weight), 2**31 - 1), np.int64)


def right_of_way(network: RoadNetwork, settings: TrafficSettings, *, left_hand: bool = False) -> RightOfWay:
    """Rules of `settings.junctions`, from road classes, roundabouts and signals of the map.

    With "priority": roads of the best class at a junction go first, those on a roundabout before those that enter it;
    turns across the oncoming stream wait for it, at signals too; between equals, who comes from the near side goes
    first. Movements conflict when they end on one link or their paths across the junction cross. Motorways
    and their ramps, and roads beyond the extract, merge by capacity.
    """
    if settings.junctions == "capacity":
        return RightOfWay.none()
    values = facts.load("behaviour")["give_way"]
    tail, head = _movements(network)
    if not len(tail):
        return RightOfWay.none()
    a, b = _pairs(network.link_to[tail])
    differ = tail[a] != tail[b]
    a, b = a[differ], b[differ]
    side = -1.0 if left_hand else 1.0
    into, out = _bearings(network)
    # positive: turns to the far side, across the oncoming stream
    turn = side * _between(out[head] - into[tail] - np.pi)
    crosses = (head[a] == head[b]) | _cross(into[tail] + side * _SIDE, out[head] - side * _SIDE, a, b)
    rank = _rank(network)
    signal = network.node_control[network.link_to] == SIGNALS
    mine, theirs = rank[tail[a]], rank[tail[b]]
    # from ahead, from the near side
    bearing = side * _between(into[tail[b]] - into[tail[a]])
    ahead = np.abs(bearing) > 0.75 * np.pi
    near = (bearing > np.pi / 4) & ~ahead
    across = turn > _ACROSS
    equal = (mine == theirs) & ~(across[b] & across[a])
    yields = crosses & ((mine > theirs) & ~signal[tail[a]] | equal & ahead & across[a] & ~across[b])
    yields |= crosses & (mine == theirs) & near & ~signal[tail[a]]
    a, b = a[yields], b[yields]
    minor = rank[tail] > _best_rank(network, rank)[network.link_to[tail]]
    onto_round = (network.link_flags[head] & ROUNDABOUT) != 0
    kind = np.where(across, 2, np.where(turn < -_ACROSS, 0, 1))  # near side, straight on, across
    gap = np.where(minor, np.array(values["gap_minor_s"])[kind], values["gap_across_s"])
    gap[signal[tail]] = values["gap_at_signal_s"]
    gap[minor & onto_round] = values["gap_roundabout_s"]
    follow = np.where(minor, np.array(values["follow_minor_s"])[kind], 0.0)
    follow[minor & onto_round] = values["follow_roundabout_s"]
    follow[signal[tail]] = 0.0
    waits = np.unique(a)
    sums = np.bincount(tail[waits], follow[waits], network.n_links)
    times = np.maximum(1, np.bincount(tail[waits], minlength=network.n_links))
    more = _feeders(network, tail, head, a, b, gap)
    # who, onto, foe and its onto; the same head is looked at once only
    named = np.concatenate([np.stack([tail[a], head[a], tail[b], head[b]]), more[:4].astype(np.int64)], axis=1)
    named, first = np.unique(named, axis=1, return_index=True)
    lag_s = np.append(np.zeros(len(a)), more[4])[first]
    gap_s = np.append(gap[a], more[5])[first]
    follow_up_s, patience_s = sums / times, float(values["patience_s"])
    link, mine, foe, onto = (np.ascontiguousarray(part) for part in named)
    return RightOfWay(link, mine, foe, onto, lag_s, gap_s, follow_up_s=follow_up_s, patience_s=patience_s)


def _movements(network: RoadNetwork) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of links a vehicle may follow at a junction, U-turns left out."""
    degree = np.diff(network.out_ptr)[network.link_to]
    tail = np.repeat(np.arange(network.n_links), degree)
    head = np.arange(len(tail)) - np.repeat(np.cumsum(degree) - degree, degree)
    head += np.repeat(network.out_ptr[network.link_to], degree)
    banned = np.isin(
        tail * network.n_links + head, network.ban_from.astype(np.int64) * network.n_links + network.ban_to
    )
    slow = ~np.isin(network.link_class, MOTORWAYS) & ~network.has(RAMP) & ~network.has(OUTSIDE)
    keep = (network.link_to[head] != network.link_from[tail]) & ~banned & slow[tail] & slow[head]
    return tail[keep], head[keep]


def _pairs(node: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All ordered pairs of rows with the same node."""
    order = np.argsort(node, kind="stable")
    _, first, count = np.unique(node[order], return_index=True, return_counts=True)
    size = np.repeat(count, count)
    begin = np.repeat(first, count)
    left = np.repeat(order, size)
    right = np.arange(len(left)) - np.repeat(np.cumsum(size) - size, size) + np.repeat(begin, size)
    return left, order[right]


def _bearings(network: RoadNetwork) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Direction, seen from the junction, of the end and of the start of each link, rad."""
    x, y = network.geom_x.astype(float), network.geom_y.astype(float)
    first, last = network.geom_ptr[:-1], network.geom_ptr[1:] - 1
    into = np.arctan2(y[last - 1] - y[last], x[last - 1] - x[last])
    return into, np.arctan2(y[first + 1] - y[first], x[first + 1] - x[first])


def _between(angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same angle from -pi to pi."""
    return np.asarray((angle + np.pi) % (2 * np.pi) - np.pi)


def _cross(
    start: NDArray[np.float64], stop: NDArray[np.float64], a: NDArray[np.int64], b: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether the chords of movements a and b across a circle cross."""
    full = 2 * np.pi
    length = (stop[a] - start[a]) % full
    return np.asarray(((start[b] - start[a]) % full < length) != ((stop[b] - start[a]) % full < length))


def _rank(network: RoadNetwork) -> NDArray[np.int64]:
    """Rank of every link at its end: 0 on a roundabout, then by class; a road and its slip roads are equals."""
    rank = 1 + network.link_class.astype(np.int64) // 2
    rank[network.has(ROUNDABOUT)] = 0
    rank[network.node_control[network.link_to] == SIGNALS] = 0
    return rank


def _best_rank(network: RoadNetwork, rank: NDArray[np.int64]) -> NDArray[np.int64]:
    """Lowest rank among the links that end at each node."""
    best = np.full(network.n_nodes, 99, np.int64)
    np.minimum.at(best, network.link_to, rank)
    return best


def _feeders(
    network: RoadNetwork,
    tail: NDArray[np.int64],
    head: NDArray[np.int64],
    a: NDArray[np.int64],
    b: NDArray[np.int64],
    gap: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Rows for links before a foe that is shorter than the gap: its next vehicle is not on it yet; shape (6, n)."""
    short = np.flatnonzero(network.link_free_s[tail[b]] < gap[a])
    order = np.argsort(head, kind="stable")
    begin = np.searchsorted(head[order], tail[b[short]])
    count = np.searchsorted(head[order], tail[b[short]], side="right") - begin
    row = np.repeat(short, count)
    at = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(begin, count)
    foe = tail[order[at]]
    other = foe != tail[a[row]]
    row, foe = row[other], foe[other]
    lag_s = network.link_free_s[tail[b[row]]]
    return np.stack([tail[a[row]], head[a[row]], foe, tail[b[row]], lag_s, gap[a[row]]])
