"""Compiled traffic: the ring of slots of a link: its vehicles, and before the first the holes of those that have left.

Who enters takes as much of the oldest holes as it is long. As nothing is smaller than a car, there are never more
vehicles and holes than the link holds cars.
"""

from __future__ import annotations

import numpy as np

from twin.traffic.calendar_kernels import LONG_AGO, NEVER, compiled, inlined

CAR = np.int64(1000)
"""Size of a car, permille; nothing on the streets is smaller."""
REST = 3
"""Bits of `control` below those of the storage's rest, permille."""


@inlined
def head_slot(here):  # type: ignore[no-untyped-def]
    """Slot of the vehicle that leaves next."""
    return np.int64(here.slots) + np.int64(here.head)


@inlined
def next_slot(here):  # type: ignore[no-untyped-def]
    """Slot that the next vehicle to enter takes; on a full link the one of its head."""
    place = np.int64(here.head) + np.int64(here.count_in) - np.int64(here.count_out)
    storage = np.int64(here.storage)
    return np.int64(here.slots) + (place if place < storage else place - storage)


@inlined
def oldest_hole(here):  # type: ignore[no-untyped-def]
    """Slot of the hole that is taken next."""
    place = np.int64(here.head) - np.int64(here.holes)
    return np.int64(here.slots) + (place if place >= 0 else place + np.int64(here.storage))


@compiled
def _space_of_several(links, slots, link, size):  # type: ignore[no-untyped-def]
    here = links[link]
    need = min(size, np.int64(here.storage) * CAR)
    first = np.int64(here.slots)
    place = oldest_hole(here)
    for _ in range(np.int64(here.holes)):
        slot = slots[place]
        need -= -2 - np.int64(slot.vehicle)
        if need <= 0:
            return np.int64(slot.ms)
        place = place + 1 if place + 1 < first + np.int64(here.storage) else first
    return NEVER


@inlined
def space_at(links, slots, link, size):  # type: ignore[no-untyped-def]
    """When a vehicle of a size finds its space; NEVER while that depends on one that has not left.

    One longer than the link waits until the link is empty.
    """
    here = links[link]
    if here.holes == 0:
        return NEVER
    slot = slots[oldest_hole(here)]
    if -2 - np.int64(slot.vehicle) >= size:
        return np.int64(slot.ms)
    return _space_of_several(links, slots, link, size)


@compiled
def _take_of_several(links, slots, link, size):  # type: ignore[no-untyped-def]
    here = links[link]
    need = wanted = min(size, np.int64(here.storage) * CAR)
    while need > 0 and here.holes > 0:
        slot = slots[oldest_hole(here)]
        left = -2 - np.int64(slot.vehicle)
        if left > need:
            slot.vehicle += need
            return wanted
        need -= left
        here.holes -= 1
    return wanted - need


@inlined
def take_space(links, slots, link, size):  # type: ignore[no-untyped-def]
    """Use up the oldest holes for a vehicle that enters; returns what it got, its size or all there is."""
    here = links[link]
    if here.holes > 0 and -2 - np.int64(slots[oldest_hole(here)].vehicle) == size:
        here.holes -= 1
        return size
    return _take_of_several(links, slots, link, size)


@inlined
def leave_hole(here, slots, hole, size):  # type: ignore[no-untyped-def]
    """Make a hole of the slot of the head vehicle, which leaves; it reaches the start at `hole`.

    What a link holds beyond whole cars makes the space of a car free between two holes: that of the vehicle before and
    its own.
    """
    slot = slots[head_slot(here)]
    rest = np.int64(here.control) >> REST
    if rest == 0:
        slot.ms = hole
    elif here.count_out == 0:
        slot.ms = LONG_AGO
    else:
        slot.ms = hole - (rest * (hole - here.last_hole_ms)) // size
    slot.vehicle = -2 - size
    here.last_hole_ms = hole
    place = np.int64(here.head) + 1
    here.head = place if place < np.int64(here.storage) else np.int64(0)
    here.holes += 1
    here.count_out += 1
