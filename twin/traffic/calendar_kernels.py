"""Compiled traffic: when what happens. The event calendar, and the numbers that all of the traffic's kernels share."""

from __future__ import annotations

import numpy as np
from numba import njit

from twin.traffic.heap_kernels import heap_push
from twin.traffic.processor_kernels import lowest_bit

# entries of `clock`; no event is due before CURSOR
CLOCK_SIZE = 10
FAR_SIZE, CURSOR, NEXT_DEPARTURE, MOVED, RINGS_TURNED, RING_VEHICLES, ON_ROAD, IN_SOURCE, TRAVERSALS, ARRIVALS = range(
    10
)

NEVER = np.int64(2**62)
NOBODY = np.int64(-1)
IDLE = np.int64(-2)
FAR_AWAY = np.int64(-3)
LONG_AGO = np.int64(-(2**30))
NEAR_MS = 1 << 15
NEAR_MASK = NEAR_MS - 1
ID_BITS = 26
ID_MASK = np.int64((1 << ID_BITS) - 1)

# Nothing is allocated here, so arrays need no counted references; counting them, with a locked instruction each,
# was half of the time (`docs/traffic.md`). An allocation would now be refused when the kernel is compiled.
compiled = njit(cache=True, error_model="numpy", _nrt=False)
# an array is seven machine words to the function that is called: where every car passes, that would be the work
inlined = njit(cache=True, error_model="numpy", _nrt=False, forceinline=True)
# small enough to be copied into the caller before it is compiled
pasted = njit(cache=True, inline="always", _nrt=False)


@pasted
def ceil_ms(us):  # type: ignore[no-untyped-def]
    """First whole millisecond at or after a time in microseconds."""
    return -((-us) // 1000)


@compiled
def push_far(far, clock, time, ident):  # type: ignore[no-untyped-def]
    """Add an event to the heap of keys (time, ident)."""
    clock[FAR_SIZE] = heap_push(far, clock[FAR_SIZE], (time << ID_BITS) | ident)


@inlined
def next_due(due, time, stop):  # type: ignore[no-untyped-def]
    """First millisecond from `time` on that has a chain of events, but not after `stop`."""
    while time < stop:
        word = due[(time & NEAR_MASK) >> 6] >> np.uint64(time & 63)
        if word != 0:
            return min(stop, time + lowest_bit(word))
        time = min(stop, (time | 63) + 1)
    return time


@inlined
def push(near, due, queue, far, clock, time, ident):  # type: ignore[no-untyped-def]
    """Add the event of a link's head (ident: the link) or gate (n_links + link); each has one at most.

    Almost every event is less than a minute ahead: `near` has one chain per millisecond,
    in order of ident, linked by `queue`, and `due` one bit for it. The others go to a heap.
    """
    cursor = clock[CURSOR]
    if time < cursor or time >= cursor + NEAR_MS:
        queue[ident] = FAR_AWAY
        push_far(far, clock, time, ident)
        return
    other = np.int64(near[time & NEAR_MASK])
    if other == NOBODY:
        due[(time & NEAR_MASK) >> 6] |= np.uint64(1) << np.uint64(time & 63)
    if other == NOBODY or ident < other:
        queue[ident] = other
        near[time & NEAR_MASK] = ident
        return
    before = other
    other = np.int64(queue[before])
    while other != NOBODY and other < ident:
        before = other
        other = np.int64(queue[before])
    queue[before] = ident
    queue[ident] = other
