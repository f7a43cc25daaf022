"""Compiled customizable contraction hierarchy: contraction once per network, weights as often as they change.

After Dibbelt, Strasser and Wagner, "Customizable contraction hierarchies" (ACM Journal of
Experimental Algorithmics 21, 2016). Nodes are numbered in contraction order, and every arc
is stored at its lower end: row 0 of `weight` is the way up, row 1 the way down.
"""

from __future__ import annotations

import numpy as np
from numba import njit

CLOSED = 2**30
"""Ms, twelve days: a link or route that takes this long counts as none, so that weights fit 32 bits."""


@njit(cache=True)
def contract(adj_ptr, adj, parent):  # type: ignore[no-untyped-def]
    """Upper neighbours of every node once all lower nodes are contracted; fills the elimination tree.

    `adj` is symmetric. A root's parent is n. Returns `up_ptr, up_head`, heads ascending.
    """
    n = len(adj_ptr) - 1
    up_ptr = np.zeros(n + 1, np.int64)
    up_head = np.empty(max(16, 4 * n), np.int32)
    child = np.full(n + 1, -1, np.int64)
    sibling = np.full(n + 1, -1, np.int64)
    mark = np.full(n, -1, np.int64)
    size = 0
    for v in range(n):
        start = size
        if size + n - v > len(up_head):
            grown = np.empty(2 * len(up_head) + n, np.int32)
            for a in range(size):
                grown[a] = up_head[a]
            up_head = grown
        mark[v] = v
        for e in range(adj_ptr[v], adj_ptr[v + 1]):
            u = adj[e]
            if u > v and mark[u] != v:
                mark[u] = v
                up_head[size] = u
                size += 1
        c = child[v]
        while c >= 0:
            for a in range(up_ptr[c], up_ptr[c + 1]):
                u = up_head[a]
                if mark[u] != v:
                    mark[u] = v
                    up_head[size] = u
                    size += 1
            c = sibling[c]
        for i in range(start + 1, size):  # short and nearly sorted lists
            u = up_head[i]
            j = i - 1
            while j >= start and up_head[j] > u:
                up_head[j + 1] = up_head[j]
                j -= 1
            up_head[j + 1] = u
        up_ptr[v + 1] = size
        parent[v] = up_head[start] if size > start else n
        sibling[v] = child[parent[v]]
        child[parent[v]] = v
    return up_ptr, up_head[:size]


@njit(cache=True)
def triangles(up_ptr, up_head):  # type: ignore[no-untyped-def]
    """The arc opposite to each pair of arcs of a node, in the order in which `customise` walks the pairs."""
    n = len(up_ptr) - 1
    count = 0
    for v in range(n):
        degree = up_ptr[v + 1] - up_ptr[v]
        count += degree * (degree - 1) // 2
    opposite = np.empty(count, np.uint32)
    k = 0
    for v in range(n):
        for i in range(up_ptr[v], up_ptr[v + 1]):
            a = up_ptr[up_head[i]]
            for j in range(i + 1, up_ptr[v + 1]):
                while up_head[a] != up_head[j]:
                    a += 1
                opposite[k] = a
                k += 1
    return opposite


@njit(cache=True)
def find_arcs(low, high, up_ptr, up_head, arc):  # type: ignore[no-untyped-def]
    """The arc between each pair of nodes."""
    for e in range(len(low)):
        a = up_ptr[low[e]]
        while up_head[a] != high[e]:
            a += 1
        arc[e] = a


@njit(cache=True)
def customise(edge_link, edge_arc, edge_way, cost, up_ptr, opposite, weight, first, second):  # type: ignore[no-untyped-def]
    """Weights of all arcs from the costs of links, lower triangles only.

    `first` and `second` say what an arc stands for: a way down one arc and up another,
    or, where `first` is -1, the link `second` (-1: a step that costs nothing).
    On equal cost the link with the lower number stays, and a link before a detour.
    """
    for a in range(weight.shape[1]):
        weight[0, a] = CLOSED
        weight[1, a] = CLOSED
    for e in range(len(edge_link)):
        link = edge_link[e]
        ms = cost[link] if link >= 0 else 0
        way, a = edge_way[e], edge_arc[e]
        if ms < weight[way, a]:
            weight[way, a] = ms
            first[way, a] = -1
            second[way, a] = link
    k = 0
    for v in range(len(up_ptr) - 1):
        end = up_ptr[v + 1]
        for i in range(up_ptr[v], end):
            up, down = weight[0, i], weight[1, i]
            for j in range(i + 1, end):
                a = opposite[k]
                k += 1
                ms = down + weight[0, j]
                if ms < weight[0, a]:
                    weight[0, a] = ms
                    first[0, a] = i
                    second[0, a] = j
                ms = weight[1, j] + up
                if ms < weight[1, a]:
                    weight[1, a] = ms
                    first[1, a] = j
                    second[1, a] = i
