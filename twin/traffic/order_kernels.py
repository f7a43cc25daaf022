"""Compiled nested dissection: the order in which a road network is contracted.

Separators are found as by Schild and Sommer ("On balanced separators in road networks",
SEA 2015): nodes are sorted along a direction, the first and the last share of them are
held apart by a maximum flow, here over nodes, so that the cut is a separator at once.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def peel(adj_ptr, adj, nodes):  # type: ignore[no-untyped-def]
    """Dead ends first: write nodes of remaining degree 0 or 1 to the front of `nodes`, the rest behind.

    Contracting them adds no arc at all. Returns how many were taken off.
    """
    n = len(adj_ptr) - 1
    degree = np.empty(n, np.int64)
    gone = np.zeros(n, np.bool_)
    count = 0
    for v in range(n):
        degree[v] = adj_ptr[v + 1] - adj_ptr[v]
        if degree[v] <= 1:
            nodes[count] = v
            count += 1
            gone[v] = True
    at = 0
    while at < count:
        v = nodes[at]
        at += 1
        for e in range(adj_ptr[v], adj_ptr[v + 1]):
            u = adj[e]
            degree[u] -= 1
            if not gone[u] and degree[u] <= 1:
                gone[u] = True
                nodes[count] = u
                count += 1
    taken = count
    for v in range(n):
        if not gone[v]:
            nodes[count] = v
            count += 1
    return taken


@njit(cache=True)
def _grow(adj_ptr, adj, part, here, sources, is_end, used, after, before, seen, parent, queue):  # type: ignore[no-untyped-def]
    """One breadth-first search for another node-disjoint path; state 2v enters node v, 2v + 1 leaves it.

    Returns the last state of a path, or -1: then `seen` marks what the sources still reach.
    """
    head, tail = 0, 0
    for v in sources:
        seen[2 * v] = True
        parent[2 * v] = -1
        queue[tail] = 2 * v
        tail += 1
    while head < tail:
        state = queue[head]
        head += 1
        v = state >> 1
        if state & 1 == 0:
            # a node on a path is full: the only way on is to take back the piece that enters it
            to = 2 * v + 1 if not used[v] else (2 * before[v] + 1 if before[v] >= 0 else -1)
            if to >= 0 and not seen[to]:
                seen[to] = True
                parent[to] = state
                if is_end[to >> 1]:
                    return to
                queue[tail] = to
                tail += 1
            continue
        if used[v] and not seen[2 * v]:
            seen[2 * v] = True
            parent[2 * v] = state
            queue[tail] = 2 * v
            tail += 1
        for e in range(adj_ptr[v], adj_ptr[v + 1]):
            u = adj[e]
            if part[u] == here and not seen[2 * u]:
                seen[2 * u] = True
                parent[2 * u] = state
                queue[tail] = 2 * u
                tail += 1
    return -1


@njit(cache=True)
def _augment(state, parent, path, used, after, before):  # type: ignore[no-untyped-def]
    """Lay the path that ends in `state` over those found before."""
    length = 0
    while state >= 0:
        path[length] = state
        length += 1
        state = parent[state]
    before[path[length - 1] >> 1] = -1
    for i in range(length - 1, 0, -1):
        a, b = path[i], path[i - 1]
        v, u = a >> 1, b >> 1
        if v == u:
            used[v] = a & 1 == 0
            if a & 1:
                after[v] = -1
                before[v] = -1
        elif a & 1:
            after[v] = u
            before[u] = v
    after[path[0] >> 1] = -1


@njit(cache=True)
def dissect(adj_ptr, adj, along, held, leaf):  # type: ignore[no-untyped-def]
    """Put nodes into contraction order, separators behind what they separate; the answer is `along[0]`.

    Each row of `along` holds the same nodes, sorted along one direction; `held` are the shares
    of nodes that are held apart at either end. Parts of up to `leaf` nodes stay as they are.
    """
    directions, count = along.shape
    n = len(adj_ptr) - 1
    part = np.full(n, -1, np.int64)
    is_end = np.zeros(n, np.bool_)
    used = np.zeros(n, np.bool_)
    after = np.full(n, -1, np.int64)
    before = np.full(n, -1, np.int64)
    seen = np.zeros(2 * n, np.bool_)
    parent = np.empty(2 * n, np.int64)
    queue = np.empty(2 * n, np.int64)
    path = np.empty(2 * n, np.int64)
    side = np.zeros(n, np.int8)
    moved = np.empty(n, np.int64)
    bounds = np.empty(3, np.int64)
    todo = np.empty((n + 2, 2), np.int64)
    todo[0, 0], todo[0, 1] = 0, count
    waiting = 1
    here = 0
    while waiting:
        waiting -= 1
        lo, hi = todo[waiting, 0], todo[waiting, 1]
        size = hi - lo
        if size <= leaf:
            continue
        here += 1
        for i in range(lo, hi):
            part[along[0, i]] = here
        best_score = np.inf
        for d in range(directions):
            mine = along[d, lo:hi]
            for share in held:
                k = max(1, int(share * size))
                for i in range(size):
                    v = mine[i]
                    is_end[v] = i >= size - k
                    used[v] = False
                    after[v] = -1
                    before[v] = -1
                cut = 0
                while True:
                    for v in mine:
                        seen[2 * v] = False
                        seen[2 * v + 1] = False
                    end = _grow(adj_ptr, adj, part, here, mine[:k], is_end, used, after, before, seen, parent, queue)
                    if end < 0:
                        break
                    _augment(end, parent, path, used, after, before)
                    cut += 1
                near = 0
                for v in mine:
                    near += seen[2 * v + 1]
                # a small cut is worth more the more it parts
                score = cut / (min(near, size - cut - near) + 0.3 * size)
                if score < best_score:
                    best_score = score
                    for v in mine:
                        side[v] = 0 if seen[2 * v + 1] else (2 if seen[2 * v] else 1)
        for d in range(directions):
            for i in range(size):
                moved[i] = along[d, lo + i]
            at = lo
            for s in range(3):
                for i in range(size):
                    if side[moved[i]] == s:
                        along[d, at] = moved[i]
                        at += 1
                bounds[s] = at
        for i in range(bounds[1], hi):
            part[along[0, i]] = -1
        todo[waiting, 0], todo[waiting, 1] = lo, bounds[0]
        todo[waiting + 1, 0], todo[waiting + 1, 1] = bounds[0], bounds[1]
        waiting += 2
