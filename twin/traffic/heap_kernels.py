"""Compiled: a four-ary heap of integer keys, least first, in an array of the caller's."""

from __future__ import annotations

from numba import njit

# it allocates nothing, so callers with and without counted references may use it (see `calendar_kernels.py`)
_compiled = njit(cache=True, error_model="numpy", _nrt=False)


@_compiled
def heap_push(heap, size, key):  # type: ignore[no-untyped-def]
    """Add a key to the `size` that are there; returns how many there are now."""
    i = size
    while i > 0:
        parent = (i - 1) >> 2
        if heap[parent] <= key:
            break
        heap[i] = heap[parent]
        i = parent
    heap[i] = key
    return size + 1


@_compiled
def heap_pop(heap, size):  # type: ignore[no-untyped-def]
    """Remove the least key, which is the first; returns how many are left."""
    size -= 1
    key = heap[size]
    i = 0
    while True:
        child = 4 * i + 1
        if child >= size:
            break
        best = child
        for k in range(child + 1, min(child + 4, size)):
            if heap[k] < heap[best]:
                best = k
        if heap[best] >= key:
            break
        heap[i] = heap[best]
        i = best
    heap[i] = key
    return size
