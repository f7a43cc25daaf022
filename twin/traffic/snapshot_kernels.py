"""Compiled: where vehicles are at one moment, from the records of `kernels.py`."""

from __future__ import annotations

from numba import njit


@njit(cache=True, error_model="numpy")
def snapshot(now, links, link_length, link_spacing, slots, vehicles, who, on, metres):  # type: ignore[no-untyped-def]
    """Vehicles on the streets at `now`: row, link, metres from the link's start. Returns how many."""
    n = 0
    for link in range(len(links)):
        here = links[link]
        ahead = 0.0
        for place in range(here.head, here.head + here.count_in - here.count_out):
            slot = slots[here.slots + place % here.storage]
            entered = vehicles[slot.vehicle].enter_ms
            free = max(1, slot.ms - entered)
            moved = link_length[link] * min(1.0, max(0.0, (now - entered) / free))
            who[n] = slot.vehicle
            on[n] = link
            # queued vehicles stand behind each other
            metres[n] = min(moved, max(0.0, link_length[link] - ahead))
            ahead += vehicles[slot.vehicle].taken_permille / 1000 * link_spacing[link]
            n += 1
    return n
