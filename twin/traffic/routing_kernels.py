"""Compiled route search on a weighed hierarchy: up the elimination tree from both ends, no heap.

The query is that of Dibbelt, Strasser and Wagner ("Customizable contraction hierarchies",
2016). A route that turns where it must not (in front of a node whose turns the hierarchy
does not model) is searched again over links: A* whose bound is the exact distance in the
hierarchy, taken from it only where it is asked for (Strasser and Zeitz, "A fast and tight
heuristic for A* in road networks", SEA 2021). Without the forbidden turn the cheapest
route can only be dearer, so both answers are exact.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from twin.traffic.heap_kernels import heap_pop, heap_push

FOUND, NO_ROUTE, SAME_NODE = 0, 1, 2

_FAR = np.int64(2**30)
_CLOSED = np.int64(2**30)
_BITS = 26
_MASK = np.int64((1 << _BITS) - 1)


@njit(cache=True)
def _climb(way, node, here, weight, up_ptr, up_head, reach, via):  # type: ignore[no-untyped-def]
    """Relax the upward arcs of a node that is reached at `here`."""
    for a in range(up_ptr[node], up_ptr[node + 1]):
        ms = here + weight[way, a]
        u = up_head[a]
        if ms < reach[way, u]:
            reach[way, u] = ms
            via[way, u] = a


@njit(cache=True)
def _meet(arcs, start, goal, reach, via):  # type: ignore[no-untyped-def]
    """Climb from both ends; returns the cost and the node in which the cheapest halves meet, -1 for none.

    Of several the lowest node counts. `reach` is far everywhere before, `_forget` makes it so again.
    """
    n = len(arcs.parent)
    reach[0, start] = 0
    reach[1, goal] = 0
    x, y = start, goal
    while x != y:
        # the lower of the two cannot be an ancestor of the other
        if x < y:
            if reach[0, x] < _FAR:
                _climb(0, x, reach[0, x], arcs.weight, arcs.up_ptr, arcs.up_head, reach, via)
            x = arcs.parent[x]
        else:
            if reach[1, y] < _FAR:
                _climb(1, y, reach[1, y], arcs.weight, arcs.up_ptr, arcs.up_head, reach, via)
            y = arcs.parent[y]
    best, top = _CLOSED, np.int64(-1)
    while x < n:
        there, back = reach[0, x], reach[1, x]
        if there + back < best:
            best = there + back
            top = x
        if there < best:
            _climb(0, x, there, arcs.weight, arcs.up_ptr, arcs.up_head, reach, via)
        if back < best:
            _climb(1, x, back, arcs.weight, arcs.up_ptr, arcs.up_head, reach, via)
        x = arcs.parent[x]
    return best, top


@njit(cache=True)
def _forget(arcs, node, reach):  # type: ignore[no-untyped-def]
    n = len(arcs.parent)
    while node < n:
        reach[0, node] = _FAR
        reach[1, node] = _FAR
        node = arcs.parent[node]


@njit(cache=True)
def _expand(arcs, way, arc, chain, links, at):  # type: ignore[no-untyped-def]
    """Write the links that one arc stands for; returns where they end, -1 when there is no room."""
    size = 1
    chain[0] = 2 * arc + way
    while size:
        size -= 1
        a, w = chain[size] >> 1, chain[size] & 1
        first, second = arcs.first[w, a], arcs.second[w, a]
        if first >= 0:
            chain[size] = 2 * second
            chain[size + 1] = 2 * first + 1
            size += 2
        elif second >= 0:
            if at >= len(links):
                return -1
            links[at] = second
            at += 1
    return at


@njit(cache=True)
def _unpack(arcs, start, goal, top, via, chain, climb, links, at):  # type: ignore[no-untyped-def]
    """Write the links of a route in driving order; returns where they end, -1 when there is no room."""
    size = 0
    node = top
    while node != start:
        climb[size] = via[0, node]
        node = arcs.up_tail[climb[size]]
        size += 1
    while size and at >= 0:
        size -= 1
        at = _expand(arcs, 0, climb[size], chain, links, at)
    node = top
    while node != goal and at >= 0:
        a = via[1, node]
        at = _expand(arcs, 1, a, chain, links, at)
        node = arcs.up_tail[a]
    return at


@njit(cache=True)
def _may_follow(streets, link, onto):  # type: ignore[no-untyped-def]
    for t in range(streets.turn_ptr[link], streets.turn_ptr[link + 1]):
        if streets.turn_link[t] == onto:
            return True
    return False


@njit(cache=True)
def _remaining(arcs, node, work, epoch):  # type: ignore[no-untyped-def]
    """Cost from a node to the goal of this search, whose way down is in `work.reach[1]`."""
    n = len(arcs.parent)
    size = 0
    x = node
    while x < n and work.asked[x] != epoch:
        work.climb[size] = x
        size += 1
        x = arcs.parent[x]
    while size:
        size -= 1
        x = work.climb[size]
        best = work.reach[1, x]
        for a in range(arcs.up_ptr[x], arcs.up_ptr[x + 1]):
            best = min(best, arcs.weight[0, a] + work.remaining[arcs.up_head[a]])
        work.remaining[x] = best
        work.asked[x] = epoch
    return work.remaining[node]


@njit(cache=True)
def _search_links(arcs, streets, work, cost, origin, after, target, links, at):  # type: ignore[no-untyped-def]
    """A* over links; returns where the route ends in `links`, -1 when there is no room, -2 without a route.

    The label of a link is the cost of driving from the origin to its end. Only turns from the
    link `after` begin a route, any link from the origin where it is -1.
    """
    n = len(arcs.parent)
    work.epoch[0] += 1
    epoch = work.epoch[0]
    goal = arcs.arrive[target]
    work.reach[1, goal] = 0
    x = goal
    while x < n:
        if work.reach[1, x] < _CLOSED:
            _climb(1, x, work.reach[1, x], arcs.weight, arcs.up_ptr, arcs.up_head, work.reach, work.via)
        x = arcs.parent[x]
    size = 0
    for link in range(streets.out_ptr[origin], streets.out_ptr[origin + 1]):
        if after >= 0 and not _may_follow(streets, after, link):
            continue
        estimate = cost[link] + _remaining(arcs, arcs.head[link], work, epoch)
        if estimate < _CLOSED:
            work.stamp[link] = epoch
            work.label[link] = cost[link]
            work.before[link] = -1
            size = heap_push(work.heap, size, (estimate << _BITS) | link)
    last = np.int64(-1)
    while size:
        key = work.heap[0]
        size = heap_pop(work.heap, size)
        link = key & _MASK
        here = work.label[link]
        if streets.link_to[link] == target:
            last = link
            break
        if (key >> _BITS) > here + work.remaining[arcs.head[link]]:
            continue
        for t in range(streets.turn_ptr[link], streets.turn_ptr[link + 1]):
            onto = streets.turn_link[t]
            there = here + cost[onto]
            if work.stamp[onto] != epoch or there < work.label[onto]:
                estimate = there + _remaining(arcs, arcs.head[onto], work, epoch)
                if estimate < _CLOSED:
                    work.stamp[onto] = epoch
                    work.label[onto] = there
                    work.before[onto] = link
                    size = heap_push(work.heap, size, (estimate << _BITS) | onto)
    _forget(arcs, goal, work.reach)
    if last < 0:
        return -2
    link = last
    end = at
    while link >= 0:
        end += 1
        link = work.before[link]
    if end > len(links):
        return -1
    i = end
    link = last
    while link >= 0:
        i -= 1
        links[i] = link
        link = work.before[link]
    return end


@njit(cache=True, nogil=True)
def search(arcs, streets, work, cost, origins, after, targets, route_ptr, links, status):  # type: ignore[no-untyped-def]
    """Cheapest route for each origin and target node; from the end of the link `after` where that is not -1.

    `work` holds one thread's arrays, as `Work` in routing.py makes them. Routes are appended
    to `links`; stops early, returning how many were done, when it is full.
    """
    for q in range(len(origins)):
        origin, target = origins[q], targets[q]
        at = route_ptr[q]
        route_ptr[q + 1] = at
        if origin == target:
            status[q] = SAME_NODE
            continue
        start, goal = arcs.enter[origin], arcs.arrive[target]
        if after[q] >= 0:
            start = arcs.head[after[q]]
        _, top = _meet(arcs, start, goal, work.reach, work.via)
        end = np.int64(-2)
        if top >= 0:
            end = _unpack(arcs, start, goal, top, work.via, work.chain, work.climb, links, at)
        _forget(arcs, start, work.reach)
        _forget(arcs, goal, work.reach)
        before = after[q]
        for i in range(at, end):
            if before >= 0 and not _may_follow(streets, before, links[i]):
                work.again[0] += 1
                end = _search_links(arcs, streets, work, cost, origin, after[q], target, links, at)
                break
            before = np.int64(links[i])
        if end == -1:
            return q
        if end < 0:
            status[q] = NO_ROUTE
            continue
        status[q] = FOUND
        route_ptr[q + 1] = end
    return len(origins)
