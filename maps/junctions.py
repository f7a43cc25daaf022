"""Merge links too short for a car: the nodes of one junction become one node.

OSM draws a crossing of two dual carriageways as four nodes a few metres apart. Queue models
need links that hold at least a car or two, so such clusters are contracted. Two things
are preserved: the driving distance (remaining links are extended to the cluster's centre)
and the permitted movements (what could not be driven through the original nodes becomes
a forbidden turn at the new one).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from maps.clean import strongest
from maps.draft import Draft
from maps.network import OUTSIDE

SHORTEST_M = 12.0
"""Shorter links are merged: about the room of one and a half cars standing."""

CLUSTER_M = 35.0
"""A contracted junction is no wider than this."""

LOOP_M = 60.0
"""A road that leaves a junction and returns to it is kept, with a node half-way, from this length on."""


def merge_short(draft: Draft, *, shortest_m: float = SHORTEST_M, cluster_m: float = CLUSTER_M) -> tuple[Draft, int]:
    """Contract clusters of nodes joined by links shorter than `shortest_m`.

    Returns
    -------
    New draft and the number of links that were merged away.
    """
    group = _clusters(draft, shortest_m, cluster_m)
    groups = int(group.max()) + 1
    if groups == draft.n_nodes:
        return draft, 0
    members = np.bincount(group, minlength=groups)
    centre_x = np.bincount(group, weights=draft.node_x, minlength=groups) / members
    centre_y = np.bincount(group, weights=draft.node_y, minlength=groups) / members
    tail, head = group[draft.link_from], group[draft.link_to]
    inner = (tail == head) & (draft.link_length < LOOP_M)
    bans = _movement_bans(draft, group, members, inner)
    moved = _extend(draft, centre_x[tail], centre_y[tail], centre_x[head], centre_y[head])
    # the cluster keeps the OSM id of its first node
    name = np.full(groups, np.iinfo(np.int64).max)
    np.minimum.at(name, group, np.arange(draft.n_nodes))
    whole = replace(
        moved,
        node_osm=draft.node_osm[name],
        node_x=centre_x,
        node_y=centre_y,
        node_control=strongest(draft.node_control, group, groups),
        link_from=tail,
        link_to=head,
        ban_from=bans[:, 0],
        ban_to=bans[:, 1],
    )
    kept = _split_loops(whole.take_links(np.flatnonzero(~inner)))
    used = np.zeros(kept.n_nodes, bool)
    used[kept.link_from] = used[kept.link_to] = True
    return kept.take_nodes(np.flatnonzero(used)), int(inner.sum())


def _clusters(draft: Draft, shortest_m: float, cluster_m: float) -> NDArray[np.int64]:
    """Group of each node; groups grow over short links, shortest first, while they fit into `cluster_m`."""
    parent = np.arange(draft.n_nodes)
    low_x, high_x, low_y, high_y = (v.copy() for v in (draft.node_x, draft.node_x, draft.node_y, draft.node_y))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = int(parent[node])
        return node

    short = np.flatnonzero((draft.link_length < shortest_m) & ((draft.link_flags & OUTSIDE) == 0))
    for link in short[np.argsort(draft.link_length[short], kind="stable")]:
        a, b = root(int(draft.link_from[link])), root(int(draft.link_to[link]))
        if a == b:
            continue
        west, east = min(low_x[a], low_x[b]), max(high_x[a], high_x[b])
        south, north = min(low_y[a], low_y[b]), max(high_y[a], high_y[b])
        if np.hypot(east - west, north - south) > cluster_m:
            continue
        a, b = min(a, b), max(a, b)
        parent[b] = a
        low_x[a], high_x[a], low_y[a], high_y[a] = west, east, south, north
    roots = np.array([root(node) for node in range(draft.n_nodes)])
    return np.unique(roots, return_inverse=True)[1].astype(np.int64)


def _movement_bans(
    draft: Draft, group: NDArray[np.int64], members: NDArray[np.int64], inner: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Forbidden pairs of links after contraction, shape (k, 2).

    For each cluster, follow every entering link over the inner links; exits that cannot be
    reached are forbidden turns. Outside clusters the bans stay as they are.
    """
    banned = set(zip(draft.ban_from.tolist(), draft.ban_to.tolist(), strict=True))
    many = members > 1
    found = [pair for pair in banned if not many[group[draft.link_to[pair[0]]]]]
    leaving: dict[int, list[int]] = defaultdict(list)
    entries: dict[int, list[int]] = defaultdict(list)
    exits: dict[int, list[int]] = defaultdict(list)
    tail, head = draft.link_from.tolist(), draft.link_to.tolist()
    for link in np.flatnonzero(many[group[draft.link_from]]).tolist():
        leaving[tail[link]].append(link)
        if not inner[link]:
            exits[int(group[tail[link]])].append(link)
    for link in np.flatnonzero(many[group[draft.link_to]] & ~inner).tolist():
        entries[int(group[head[link]])].append(link)
    within = inner.tolist()
    for cluster, enter in entries.items():
        for entry in enter:
            seen, reached, stack = set(), set(), [entry]
            while stack:
                link = stack.pop()
                for turn in leaving[head[link]]:
                    if (link, turn) in banned:
                        continue
                    if within[link] and head[turn] == tail[link]:
                        continue  # no turning round inside the junction
                    if not within[turn]:
                        reached.add(turn)
                    elif turn not in seen:
                        seen.add(turn)
                        stack.append(turn)
            found += [(entry, leave) for leave in exits[cluster] if leave not in reached]
    return np.array(sorted(set(found)), np.int64).reshape(-1, 2)


def _extend(
    draft: Draft,
    from_x: NDArray[np.float64],
    from_y: NDArray[np.float64],
    to_x: NDArray[np.float64],
    to_y: NDArray[np.float64],
) -> Draft:
    """Lead every link from and to the given points.

    Its shape gets a straight piece; its length grows by the part of that piece that
    lies in the link's own direction, so that driving straight through a junction is as long
    as before (a sidestep of the drawing is no driving). Never shorter than straight ahead.
    """
    ptr = draft.geom_ptr
    first, last = ptr[:-1], ptr[1:] - 1
    before = np.hypot(draft.geom_x[first] - from_x, draft.geom_y[first] - from_y)
    after = np.hypot(draft.geom_x[last] - to_x, draft.geom_y[last] - to_y)
    ahead = _ahead(draft, first, first + 1, draft.geom_x[first] - from_x, draft.geom_y[first] - from_y)
    behind = _ahead(draft, last - 1, last, to_x - draft.geom_x[last], to_y - draft.geom_y[last])
    length = np.maximum(draft.link_length + ahead + behind, np.hypot(to_x - from_x, to_y - from_y))
    add_first, add_last = before > 0.01, after > 0.01
    geom_x = np.insert(draft.geom_x, np.concatenate([first[add_first], last[add_last] + 1]), 0.0)
    geom_y = geom_x.copy()
    size = np.diff(ptr) + add_first + add_last
    new_ptr = np.concatenate([[0], np.cumsum(size)]).astype(np.int64)
    old = np.repeat(new_ptr[:-1] + add_first - ptr[:-1], np.diff(ptr)) + np.arange(len(draft.geom_x))
    geom_x[old], geom_y[old] = draft.geom_x, draft.geom_y
    geom_x[new_ptr[:-1][add_first]], geom_y[new_ptr[:-1][add_first]] = from_x[add_first], from_y[add_first]
    geom_x[new_ptr[1:][add_last] - 1], geom_y[new_ptr[1:][add_last] - 1] = to_x[add_last], to_y[add_last]
    return replace(
        draft,
        link_length=length,
        geom_ptr=new_ptr,
        geom_x=geom_x,
        geom_y=geom_y,
    )


def _ahead(
    draft: Draft, a: NDArray[np.int64], b: NDArray[np.int64], x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Part of the displacement (x, y) that lies in the direction from shape point a to b, at least 0."""
    dx, dy = draft.geom_x[b] - draft.geom_x[a], draft.geom_y[b] - draft.geom_y[a]
    return np.asarray(np.maximum((x * dx + y * dy) / np.maximum(np.hypot(dx, dy), 1e-9), 0.0))


def _split_loops(draft: Draft) -> Draft:
    """Give links that start and end at the same node a node half-way, so that no self-loop is left."""
    loops = np.flatnonzero(draft.link_from == draft.link_to)
    if not len(loops):
        return draft
    nodes, links = draft.n_nodes, draft.n_links
    xs, ys, ptrs = [draft.geom_x], [draft.geom_y], [np.diff(draft.geom_ptr)]
    mid_x, mid_y, second_length = np.zeros(len(loops)), np.zeros(len(loops)), np.zeros(len(loops))
    length = draft.link_length.copy()
    geom_size = np.diff(draft.geom_ptr)
    keep = np.ones(len(draft.geom_x), bool)
    for k, link in enumerate(loops):
        part = slice(draft.geom_ptr[link], draft.geom_ptr[link + 1])
        x, y = draft.geom_x[part], draft.geom_y[part]
        if len(x) < 3:
            raise AssertionError("a straight link cannot return to its start")
        along = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
        middle = int(np.clip(np.searchsorted(along, along[-1] / 2), 1, len(x) - 2))
        mid_x[k], mid_y[k] = x[middle], y[middle]
        share = along[middle] / along[-1]
        straight = float(np.hypot(x[middle] - x[0], y[middle] - y[0]))
        second_length[k] = max(length[link] * (1 - share), straight)
        length[link] = max(length[link] * share, straight)
        keep[part.start + middle + 1 : part.stop] = False
        geom_size[link] = middle + 1
        xs.append(x[middle:])
        ys.append(y[middle:])
        ptrs.append(np.array([len(x) - middle]))
    ptrs[0], xs[0], ys[0] = geom_size, draft.geom_x[keep], draft.geom_y[keep]
    link_to = draft.link_to.copy()
    link_to[loops] = nodes + np.arange(len(loops))
    second = np.full(links, -1, np.int64)
    second[loops] = links + np.arange(len(loops))
    ban_from = np.where(second[draft.ban_from] >= 0, second[draft.ban_from], draft.ban_from)
    lowest = min(0, int(draft.node_osm.min()))

    def grown(name: str) -> NDArray[np.int64]:
        values = getattr(draft, name)
        return np.concatenate([values, values[loops]])

    return replace(
        draft,
        node_osm=np.concatenate([draft.node_osm, lowest - 1 - np.arange(len(loops))]),
        node_x=np.concatenate([draft.node_x, mid_x]),
        node_y=np.concatenate([draft.node_y, mid_y]),
        node_control=np.concatenate([draft.node_control, np.zeros(len(loops), np.uint8)]),
        link_from=np.concatenate([draft.link_from, nodes + np.arange(len(loops))]),
        link_to=np.concatenate([link_to, draft.link_to[loops]]),
        link_length=np.concatenate([length, second_length]),
        link_speed=grown("link_speed").astype(float),
        link_lanes=grown("link_lanes"),
        link_class=grown("link_class"),
        link_flags=grown("link_flags"),
        link_way=grown("link_way"),
        geom_ptr=np.concatenate([[0], np.cumsum(np.concatenate(ptrs))]).astype(np.int64),
        geom_x=np.concatenate(xs),
        geom_y=np.concatenate(ys),
        ban_from=ban_from,
        ban_to=draft.ban_to,
    )
