"""Compiled traffic: who waits for a link, whose turn it is, and rings of links that wait for each other."""

from __future__ import annotations

import numpy as np

from twin.traffic.calendar_kernels import IDLE, NOBODY, compiled, push_far


@compiled
def enlist(links, merges, waiting, target, waiter):  # type: ignore[no-untyped-def]
    """Put an upstream link (or a source) among those that wait for `target` (start-time fair queueing)."""
    virtual = merges[target].virtual
    who = waiting[waiter]
    # turns that were not used are not saved up
    if who.last != target or who.tag < virtual:
        who.tag = virtual
    who.last = target
    who.target = target
    who.next = links[target].first_waiter
    links[target].first_waiter = waiter


@compiled
def delist(links, waiting, waiter):  # type: ignore[no-untyped-def]
    """Take a waiter out of the queue it stands in."""
    target = waiting[waiter].target
    before = NOBODY
    other = np.int64(links[target].first_waiter)
    while other != waiter:
        before = other
        other = np.int64(waiting[other].next)
    if before == NOBODY:
        links[target].first_waiter = waiting[waiter].next
    else:
        waiting[before].next = waiting[waiter].next
    waiting[waiter].target = NOBODY


@compiled
def whose_turn(links, waiting, target):  # type: ignore[no-untyped-def]
    """Waiter that has had least of its share (ties: lowest row)."""
    best = np.int64(links[target].first_waiter)
    other = np.int64(waiting[best].next)
    while other != NOBODY:
        if waiting[other].tag < waiting[best].tag or (waiting[other].tag == waiting[best].tag and other < best):
            best = other
        other = np.int64(waiting[other].next)
    return best


@compiled
def ring_through(waiting, queue, link, n_links):  # type: ignore[no-untyped-def]
    """Length of the closed ring of full links that `link` stands in, and its lowest link; (0, link) for none."""
    length, lowest = 0, link
    other = link
    mark, reach = NOBODY, 1
    while True:
        target = np.int64(waiting[other].target)
        if target == NOBODY or queue[n_links + target] != IDLE:
            return 0, link
        length += 1
        other = target
        lowest = min(lowest, other)
        if other == link:
            return length, lowest
        # Brent's search: the chain may run into a ring that `link` is not part of
        if other == mark:
            return 0, link
        if length == reach:
            mark, reach = other, 2 * reach


@compiled
def watch_ring(links, merges, waiting, queue, far, clock, link, now, ring_ms, n_links):  # type: ignore[no-untyped-def]
    """If `link` closes a ring of blocked links, set the event at which the ring may turn."""
    length, lowest = ring_through(waiting, queue, link, n_links)
    if length:
        seen = merges[lowest]
        if not (seen.ring_seen_ms >= now and seen.ring_seen_out == links[lowest].count_out):
            seen.ring_seen_ms = now + ring_ms
            seen.ring_seen_out = links[lowest].count_out
            push_far(far, clock, now + ring_ms, 2 * n_links + lowest)
