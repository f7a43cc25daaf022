"""From a raw directed graph to one that traffic can run on.

Largest strong component, no nodes that are only bends, no links too short to hold a
car, signals at the junctions they control, and no turn ban that traps a car. Every step takes
a `Draft` and returns a new one.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from maps.draft import Draft, take_ragged
from maps.network import GIVE_WAY, NO_CONTROL, OUTSIDE, SIGNALS, STOP, TOLL_BOOTH

SIGNAL_REACH_M = 40.0
"""A signal, stop or give-way sign this near before a junction controls that junction."""

_RANK = np.zeros(5, np.int64)
_RANK[[NO_CONTROL, GIVE_WAY, STOP, TOLL_BOOTH, SIGNALS]] = np.arange(5)
_BY_RANK = np.argsort(_RANK).astype(np.uint8)


def strong_component(draft: Draft) -> NDArray[np.bool_]:
    """Nodes of the largest strongly connected component (most nodes; the first of equals)."""
    label = _components(draft.link_from, draft.link_to, draft.n_nodes)
    return np.asarray(label == np.bincount(label).argmax(), bool)


def keep_nodes(draft: Draft, keep: NDArray[np.bool_]) -> Draft:
    """Draft of the nodes `keep` and the links between them."""
    inside = np.flatnonzero(keep[draft.link_from] & keep[draft.link_to])
    return draft.take_links(inside).take_nodes(np.flatnonzero(keep))


def place_controls(draft: Draft, *, reach_m: float = SIGNAL_REACH_M) -> Draft:
    """Move signals and signs to the junction within `reach_m` ahead of them.

    Signals in the middle of a block (pedestrian crossings) and toll booths stay nodes of
    their own; stop and give-way signs that stand before no junction are dropped.
    """
    neighbours = _neighbour_count(draft)
    control = draft.node_control.copy()
    order, out_ptr = _by_start(draft)
    for node in np.flatnonzero((control > 0) & (neighbours <= 2) & (control != TOLL_BOOTH)):
        best: tuple[float, int] | None = None
        for first in order[out_ptr[node] : out_ptr[node + 1]]:
            link, before, way = int(first), int(node), float(draft.link_length[first])
            while way <= reach_m:
                head = int(draft.link_to[link])
                if neighbours[head] > 2:
                    best = min(best or (way, head), (way, head))
                    break
                onward = [k for k in order[out_ptr[head] : out_ptr[head + 1]] if draft.link_to[k] != before]
                if len(onward) != 1:
                    break
                before, link = head, int(onward[0])
                way += float(draft.link_length[link])
        mine = control[node]
        if best is not None:
            control[best[1]] = max(control[best[1]], mine, key=lambda c: _RANK[c])
        if best is not None or mine != SIGNALS:
            control[node] = NO_CONTROL
    return replace(draft, node_control=control)


def simplify(draft: Draft) -> Draft:
    """Join links at nodes where nothing is decided: two neighbours, equal attributes, no control, no ban.

    Shapes are joined and lengths added, so drawings and driving distances stay. Nodes where class,
    speed, lanes or flags change stay too, and so do those of approach roads. A street that
    starts and ends at the same junction keeps a node half-way.
    """
    onward = _onward(draft)
    while True:
        joined = onward >= 0
        target = np.zeros(draft.n_links, bool)
        target[onward[joined]] = True
        heads = np.flatnonzero(~target)
        chain = np.full(draft.n_links, -1, np.int64)
        position = np.zeros(draft.n_links, np.int64)
        current, number, step = heads, np.arange(len(heads)), 0
        last = heads.copy()
        while len(current):
            chain[current], position[current], last[number] = number, step, current
            current = onward[current]
            going = current >= 0
            current, number, step = current[going], number[going], step + 1
        stops: NDArray[np.int64] = draft.link_to[np.flatnonzero(chain < 0)[:1]]  # a ring road without any junction
        loop = np.flatnonzero(draft.link_from[heads] == draft.link_to[last])
        if len(loop):
            middle = (position[last[loop]] + 1) // 2 - 1
            at = {int(c): int(m) for c, m in zip(loop, middle, strict=True)}
            inside = np.flatnonzero(np.isin(chain, loop))
            cut = [k for k in inside if position[k] == at[int(chain[k])]]
            stops = np.concatenate([stops, draft.link_to[cut]])
        if not len(stops):
            break
        onward[np.isin(draft.link_to, stops)] = -1
    order = np.lexsort((position, chain))
    return _join(draft, order, chain, position, heads, last)


def _join(
    draft: Draft,
    order: NDArray[np.int64],
    chain: NDArray[np.int64],
    position: NDArray[np.int64],
    heads: NDArray[np.int64],
    last: NDArray[np.int64],
) -> Draft:
    ptr, points = take_ragged(draft.geom_ptr, order)
    # the first point of every piece but the first of a chain repeats the last point before it
    repeated = np.zeros(len(points), bool)
    repeated[ptr[:-1][position[order] > 0]] = True
    owner = np.repeat(chain[order], np.diff(ptr))[~repeated]
    kept = points[~repeated]
    first_of = np.full(draft.n_links, -1, np.int64)
    first_of[heads] = np.arange(len(heads))
    last_of = np.full(draft.n_links, -1, np.int64)
    last_of[last] = np.arange(len(last))
    ban_from, ban_to = last_of[draft.ban_from], first_of[draft.ban_to]
    valid = (ban_from >= 0) & (ban_to >= 0)
    whole = replace(
        draft,
        link_from=draft.link_from[heads],
        link_to=draft.link_to[last],
        link_length=np.bincount(chain, weights=draft.link_length, minlength=len(heads)).astype(float),
        link_speed=draft.link_speed[heads],
        link_lanes=draft.link_lanes[heads],
        link_class=draft.link_class[heads],
        link_flags=draft.link_flags[heads],
        link_way=draft.link_way[heads],
        geom_ptr=np.searchsorted(owner, np.arange(len(heads) + 1)).astype(np.int64),
        geom_x=draft.geom_x[kept],
        geom_y=draft.geom_y[kept],
        ban_from=ban_from[valid],
        ban_to=ban_to[valid],
    )
    used = np.zeros(draft.n_nodes, bool)
    used[whole.link_from] = used[whole.link_to] = True
    return whole.take_nodes(np.flatnonzero(used))


def _onward(draft: Draft) -> NDArray[np.int64]:
    """For each link the one it runs on into when its end node decides nothing, else -1."""
    n, links = draft.n_nodes, draft.n_links
    into = np.bincount(draft.link_to, minlength=n)
    out = np.bincount(draft.link_from, minlength=n)
    order, out_ptr = _by_start(draft)
    in_order = np.argsort(draft.link_to, kind="stable")
    in_ptr = np.concatenate([[0], np.cumsum(into)])
    plain = draft.node_control == 0
    outside = np.flatnonzero((draft.link_flags & OUTSIDE) != 0)
    plain[draft.link_from[outside]] = plain[draft.link_to[outside]] = False
    u_turn = draft.link_to[draft.ban_to] == draft.link_from[draft.ban_from]
    plain[draft.link_to[draft.ban_from[~u_turn]]] = False
    onward = np.full(links, -1, np.int64)

    one = np.flatnonzero(plain & (into == 1) & (out == 1))
    a, b = in_order[in_ptr[one]], order[out_ptr[one]]
    onward[a] = np.where((draft.link_from[a] != draft.link_to[b]) & _alike(draft, a, b), b, -1)

    two = np.flatnonzero(plain & (into == 2) & (out == 2))
    i1, i2 = in_order[in_ptr[two]], in_order[in_ptr[two] + 1]
    o1, o2 = order[out_ptr[two]], order[out_ptr[two] + 1]
    t1, t2, h1, h2 = draft.link_from[i1], draft.link_from[i2], draft.link_to[o1], draft.link_to[o2]
    straight = (t1 == h1) & (t2 == h2)
    crossed = (t1 == h2) & (t2 == h1)
    # the way on from i1 is the link that does not go back to where i1 came from
    n1, n2 = np.where(straight, o2, o1), np.where(straight, o1, o2)
    join = (t1 != t2) & (straight | crossed) & _alike(draft, i1, n1) & _alike(draft, i2, n2)
    onward[i1[join]], onward[i2[join]] = n1[join], n2[join]
    return onward


def _alike(draft: Draft, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.bool_]:
    same = np.ones(len(a), bool)
    for name in ("link_speed", "link_lanes", "link_class", "link_flags"):
        values = getattr(draft, name)
        same &= values[a] == values[b]
    return same


def free_traps(draft: Draft) -> tuple[Draft, int]:
    """Lift turn bans that would keep some link from being reached, or left; how many were lifted.

    After this every link can be driven to from every other while keeping all bans; turning
    round is counted as possible only at dead ends where that suffices.
    """
    lifted = 0
    out_degree = np.bincount(draft.link_from, minlength=draft.n_nodes)
    for u_turns in (False, False, True, True, True):
        if not len(draft.ban_from):
            break
        a, b = turns(draft)
        if not u_turns:
            back = (draft.link_to[b] == draft.link_from[a]) & (out_degree[draft.link_from[b]] > 1)
            a, b = a[~back], b[~back]
        label = _components(a, b, draft.n_links)
        main = label == np.bincount(label).argmax()
        touched = ~(main[draft.ban_from] & main[draft.ban_to])
        if touched.any():
            lifted += int(touched.sum())
            draft = replace(draft, ban_from=draft.ban_from[~touched], ban_to=draft.ban_to[~touched])
    return draft, lifted


def turns(draft: Draft) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All permitted pairs of links that follow one another, U-turns included."""
    order, out_ptr = _by_start(draft)
    count = np.diff(out_ptr)[draft.link_to]
    first = np.repeat(np.arange(draft.n_links), count)
    begin = np.concatenate([[0], np.cumsum(count)])[:-1]
    place = np.arange(len(first)) - np.repeat(begin, count) + np.repeat(out_ptr[draft.link_to], count)
    then = order[place]
    banned = np.isin(first * draft.n_links + then, draft.ban_from * draft.n_links + draft.ban_to)
    return first[~banned], then[~banned]


def strongest(controls: NDArray[np.uint8], group: NDArray[np.int64], groups: int) -> NDArray[np.uint8]:
    """Control of each group of nodes: signals before toll booth before stop before give way."""
    best = np.zeros(groups, np.int64)
    np.maximum.at(best, group, _RANK[controls])
    return _BY_RANK[best]


def _components(tail: NDArray[np.int64], head: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    graph = coo_matrix((np.ones(len(tail), np.int8), (tail, head)), shape=(size, size)).tocsr()
    return np.asarray(connected_components(graph, directed=True, connection="strong")[1], np.int64)


def _by_start(draft: Draft) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    order = np.argsort(draft.link_from, kind="stable")
    ptr = np.searchsorted(draft.link_from[order], np.arange(draft.n_nodes + 1))
    return order, ptr


def _neighbour_count(draft: Draft) -> NDArray[np.int64]:
    """Distinct nodes that each node is linked with, in either direction."""
    low, high = np.minimum(draft.link_from, draft.link_to), np.maximum(draft.link_from, draft.link_to)
    pairs = np.unique(low * draft.n_nodes + high)
    return np.asarray(
        np.bincount(pairs // draft.n_nodes, minlength=draft.n_nodes)
        + np.bincount(pairs % draft.n_nodes, minlength=draft.n_nodes)
    )
