"""Compiled traffic: which slots of its ring the first and the next vehicle of a link have, without a division."""

from __future__ import annotations

import numpy as np

from twin.traffic.calendar_kernels import inlined


@inlined
def head_slot(here):  # type: ignore[no-untyped-def]
    """Slot of the vehicle that leaves next."""
    return np.int64(here.slots) + np.int64(here.head)


@inlined
def next_slot(here):  # type: ignore[no-untyped-def]
    """Slot that the next vehicle to enter takes; on a full link the one of its head."""
    place = np.int64(here.head) + np.int64(here.count_in) - np.int64(here.count_out)
    storage = np.int64(here.storage)
    if place >= storage:
        place -= storage
    return np.int64(here.slots) + place


@inlined
def place_after_head(here):  # type: ignore[no-untyped-def]
    """Place in the ring of the vehicle behind the head."""
    place = np.int64(here.head) + 1
    return place if place < np.int64(here.storage) else np.int64(0)


@inlined
def slot_left(here):  # type: ignore[no-untyped-def]
    """Slot that the vehicle had which left last."""
    place = np.int64(here.head) - 1
    return np.int64(here.slots) + (place if place >= 0 else np.int64(here.storage) - 1)
