"""Compiled route search: A* over links with landmark bounds (ALT), so that forbidden turns hold.

Labels belong to links, not nodes: the label of a link is the cost of driving from the
origin to the end of that link. The bound is Goldberg and Harrelson's ("Computing the
shortest path: A* search meets graph theory", SODA 2005) on free-flow times.
"""

from __future__ import annotations

import numpy as np
from numba import njit

UNREACHED = np.int64(2**61)
_BITS = 26
_MASK = np.int64((1 << _BITS) - 1)

FOUND, NO_ROUTE, SAME_NODE = 0, 1, 2


@njit(cache=True)
def bound(landmark_to, landmark_from, node, target):  # type: ignore[no-untyped-def]
    """Lower bound of the free-flow time from node to target, ms; tables are (n_nodes, landmarks)."""
    best = np.int64(0)
    for i in range(landmark_to.shape[1]):
        via_to = np.int64(landmark_to[node, i]) - landmark_to[target, i]
        via_from = np.int64(landmark_from[target, i]) - landmark_from[node, i]
        best = max(best, max(via_to, via_from))
    return best


@njit(cache=True)
def _push(heap, size, key):  # type: ignore[no-untyped-def]
    i = size
    while i > 0:
        parent = (i - 1) >> 2
        if heap[parent] <= key:
            break
        heap[i] = heap[parent]
        i = parent
    heap[i] = key
    return size + 1


@njit(cache=True)
def _pop(heap, size):  # type: ignore[no-untyped-def]
    size -= 1
    key = heap[size]
    i = 0
    while True:
        child = 4 * i + 1
        if child >= size:
            break
        best = child
        for j in range(child + 1, min(child + 4, size)):
            if heap[j] < heap[best]:
                best = j
        if heap[best] >= key:
            break
        heap[i] = heap[best]
        i = best
    heap[i] = key
    return size


@njit(cache=True)
def search(  # type: ignore[no-untyped-def]
    origins,
    targets,
    cost,
    link_to,
    out_ptr,
    turn_ptr,
    turn_link,
    landmark_to,
    landmark_from,
    label,
    parent,
    stamp,
    heap,
    epoch,
    route_ptr,
    route_links,
    status,
):
    """Cheapest route for each origin and target node.

    `label, parent, stamp` (n_links) and `heap` are working space that is never cleared:
    `stamp` says in which search a label was set. Routes are appended to `route_links`;
    stops early, returning how many were done, when it is full.
    """
    for q in range(len(origins)):
        origin, target = origins[q], targets[q]
        route_ptr[q + 1] = route_ptr[q]
        if origin == target:
            status[q] = SAME_NODE
            continue
        epoch += 1
        size = 0
        for link in range(out_ptr[origin], out_ptr[origin + 1]):
            stamp[link] = epoch
            label[link] = cost[link]
            parent[link] = -1
            estimate = cost[link] + bound(landmark_to, landmark_from, link_to[link], target)
            size = _push(heap, size, (estimate << _BITS) | link)
        last = -1
        while size:
            key = heap[0]
            size = _pop(heap, size)
            link = key & _MASK
            node = link_to[link]
            here = label[link]
            if node == target:
                last = link
                break
            if (key >> _BITS) > here + bound(landmark_to, landmark_from, node, target):
                continue
            for t in range(turn_ptr[link], turn_ptr[link + 1]):
                onto = turn_link[t]
                there = here + cost[onto]
                if stamp[onto] != epoch or there < label[onto]:
                    stamp[onto] = epoch
                    label[onto] = there
                    parent[onto] = link
                    estimate = there + bound(landmark_to, landmark_from, link_to[onto], target)
                    size = _push(heap, size, (estimate << _BITS) | onto)
        if last < 0:
            status[q] = NO_ROUTE
            continue
        length = 0
        link = last
        while link >= 0:
            length += 1
            link = parent[link]
        if route_ptr[q] + length > len(route_links):
            return q
        at = route_ptr[q] + length
        route_ptr[q + 1] = at
        link = last
        while link >= 0:
            at -= 1
            route_links[at] = link
            link = parent[link]
        status[q] = FOUND
    return len(origins)
