"""Compiled traffic: who may leave a link. Green windows, and gaps in streams with right of way."""

from __future__ import annotations

import numpy as np

from twin.traffic.calendar_kernels import NEVER, NOBODY, ceil_ms, compiled
from twin.traffic.slot_kernels import head_slot

SIGNAL, YIELDS, METERED = 1, 2, 4  # bits of a link's `control`


@compiled
def green(ends, link, time):  # type: ignore[no-untyped-def]
    """First moment at or after `time` when the signal at the link's end shows green."""
    first, row = NEVER, np.int64(link)
    while row != NOBODY:
        window = ends[row]
        phase = (time - window.start_ms) % window.cycle_ms
        if phase < window.stop_ms - window.start_ms:
            return time
        first = min(first, time + window.cycle_ms - phase)
        row = np.int64(window.next_window)
    return first


@compiled
def last_green(ends, link, time):  # type: ignore[no-untyped-def]
    """Last moment of the green window that `time` is in."""
    row = np.int64(link)
    while row != NOBODY:
        window = ends[row]
        phase = (time - window.start_ms) % window.cycle_ms
        if phase < window.stop_ms - window.start_ms:
            return time + (window.stop_ms - window.start_ms) - phase - 1
        row = np.int64(window.next_window)
    return time


@compiled
def gap_at(links, slots, vehicles, ends, foes, link, now):  # type: ignore[no-untyped-def]
    """When the head of a link that gives way may try to go; `now` when it need not wait.

    It goes when no head of a stream with right of way gets to the conflict within the critical
    gap, which shrinks with its wait. Who stands at a line already is not waited for.
    """
    here, end = links[link], ends[link]
    slot = slots[head_slot(here)]
    mine = vehicles[slot.vehicle].next_link
    waited = now - max(np.int64(slot.ms), ceil_ms(here.next_out_us))
    patience = np.int64(end.patience_ms)
    left = max(0, patience - max(0, waited))
    until = now
    for row in range(end.first_foe, end.first_foe + end.foes):
        foe = foes[row]
        there = links[foe.link]
        if there.count_in == there.count_out or (foe.mine != NOBODY and foe.mine != mine):
            continue
        slot = slots[head_slot(there)]
        if foe.onto != NOBODY and vehicles[slot.vehicle].next_link != foe.onto:
            continue
        due = max(np.int64(slot.ms), ceil_ms(there.next_out_us))
        if there.control & SIGNAL:
            due = green(ends, np.int64(foe.link), due)
        due += foe.lag_ms
        if now <= due and due < now + foe.gap_ms * left // patience:
            until = max(until, due + 1)
    return until


@compiled
def may_go_at(links, slots, vehicles, ends, foes, link, now):  # type: ignore[no-untyped-def]
    """When the head of a link may try to leave it; `now` when neither a signal nor another stream holds it.

    Who has waited for a gap in green all the time clears the junction when the signal changes.
    """
    control = links[link].control
    shows = green(ends, link, now) if control & SIGNAL else now
    if shows > now or not control & YIELDS:
        return shows
    goes = gap_at(links, slots, vehicles, ends, foes, link, now)
    if goes > now and control & SIGNAL:
        goes = min(goes, last_green(ends, link, now))
    return goes
