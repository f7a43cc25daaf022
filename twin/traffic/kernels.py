"""Compiled traffic: an event-based kinematic-wave queue model, one record per vehicle.

A link of length L, free speed v, jam spacing s per lane and time gap tau holds the
triangular fundamental diagram: capacity 1/(tau + s/v) per lane, wave speed s/tau,
storage K = L * lanes / s. Newell's rule at both ends (Newell, "A simplified theory of
kinematic waves", Transp. Res. B 27, 1993; Yperman's link transmission model, 2007):
a vehicle reaches the end no earlier than L/v after it entered; vehicle n may enter no
earlier than L*tau/s after vehicle n - K left, K a fraction in general, so the time is
interpolated between two exits. Events: a head vehicle is ready; a link can take the
next vehicle; a closed ring of blocked links turns. Times are integer milliseconds;
headways are kept in microseconds so that capacity does not round.
"""

from __future__ import annotations

import numpy as np
from numba import njit

# columns of `link_state`, one 64-byte record per link
IN, OUT, NEXT_IN_US, NEXT_OUT_US, HEAD_EVENT, GATE_EVENT, FIRST_WAITER, VIRTUAL = range(8)
# columns of `link_fixed`
FREE_MS, HEADWAY_US, STORAGE, FRACTION, WAVE_MS, SLOTS, GREEN_FROM, GREEN_TO = range(8)
# columns of `waiting`; rows are links, then the source of each link
NEXT, TAG, TARGET, LAST = range(4)
# columns of `vehicle`
POSITION, END, ENTER_MS, DEPART_MS, GAP_PERMILLE, PACE_PERMILLE, NEXT_IN_SOURCE, FIRST_MS = range(8)
# entries of `clock`
HEAP_SIZE, NEXT_DEPARTURE, MOVED, RINGS_TURNED, RING_VEHICLES, ON_ROAD, IN_SOURCE, TRAVERSALS, ARRIVALS = range(9)

NEVER = np.int64(2**62)
NOBODY = np.int64(-1)
LONG_AGO = np.int64(-(2**40))
_ID_BITS = 26
_ID_MASK = np.int64((1 << _ID_BITS) - 1)

DONE, BUFFERS_FULL, HEAP_FULL = 0, 1, 2


@njit(cache=True)
def push(heap, clock, time, ident):  # type: ignore[no-untyped-def]
    """Add an event to the four-ary heap of keys (time, ident)."""
    key = (time << _ID_BITS) | ident
    i = clock[HEAP_SIZE]
    clock[HEAP_SIZE] = i + 1
    while i > 0:
        parent = (i - 1) >> 2
        if heap[parent] <= key:
            break
        heap[i] = heap[parent]
        i = parent
    heap[i] = key


@njit(cache=True)
def pop(heap, clock):  # type: ignore[no-untyped-def]
    """Remove the first event."""
    size = clock[HEAP_SIZE] - 1
    clock[HEAP_SIZE] = size
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


@njit(cache=True)
def green(link_fixed, link, time, cycle_ms):  # type: ignore[no-untyped-def]
    """First moment at or after `time` when the signal at the link's end shows green."""
    start, stop = link_fixed[link, GREEN_FROM], link_fixed[link, GREEN_TO]
    if stop <= start:
        return time
    phase = time % cycle_ms
    # a green that spans the end of the cycle has stop > cycle_ms
    if start <= phase < stop or phase + cycle_ms < stop:
        return time
    return time + (start - phase if phase < start else start + cycle_ms - phase)


@njit(cache=True, inline="always")
def ceil_ms(us):  # type: ignore[no-untyped-def]
    """First whole millisecond at or after a time in microseconds."""
    return -((-us) // 1000)


@njit(cache=True)
def room_at(link_fixed, link_state, slot_ms, link):  # type: ignore[no-untyped-def]
    """When the link has room for its next vehicle; NEVER while that depends on a vehicle that has not left."""
    storage = link_fixed[link, STORAGE]
    count_in = link_state[link, IN]
    if count_in - link_state[link, OUT] >= storage:
        return NEVER
    size = storage + 1
    slots = link_fixed[link, SLOTS]
    # exits of vehicles n - k - 1 and n - k (with the wave's travel time) bound the moment when a space of K is free
    older = slot_ms[slots + count_in % size]
    newer = slot_ms[slots + (count_in + 1) % size]
    space = newer - (link_fixed[link, FRACTION] * (newer - older)) // 1000
    return max(space, ceil_ms(link_state[link, NEXT_IN_US]))


@njit(cache=True)
def schedule_head(link_fixed, link_state, slot_ms, heap, clock, link, cycle_ms):  # type: ignore[no-untyped-def]
    """Set the event at which the head vehicle of a link may leave it."""
    size = link_fixed[link, STORAGE] + 1
    arrives = slot_ms[link_fixed[link, SLOTS] + link_state[link, OUT] % size]
    ready = green(link_fixed, link, max(arrives, ceil_ms(link_state[link, NEXT_OUT_US])), cycle_ms)
    link_state[link, HEAD_EVENT] = ready
    push(heap, clock, ready, link)


@njit(cache=True)
def schedule_gate(link_fixed, link_state, slot_ms, heap, clock, link, now, n_links):  # type: ignore[no-untyped-def]
    """Set the event at which a link with waiters can take the next one, if that moment is known."""
    if link_state[link, GATE_EVENT] == NEVER:
        opens = room_at(link_fixed, link_state, slot_ms, link)
        if opens != NEVER:
            opens = max(now, opens)
            link_state[link, GATE_EVENT] = opens
            push(heap, clock, opens, n_links + link)


@njit(cache=True)
def enlist(link_state, waiting, target, waiter):  # type: ignore[no-untyped-def]
    """Put an upstream link (or a source) among those that wait for `target` (start-time fair queueing)."""
    virtual = link_state[target, VIRTUAL]
    # turns that were not used are not saved up
    if waiting[waiter, LAST] != target or waiting[waiter, TAG] < virtual:
        waiting[waiter, TAG] = virtual
    waiting[waiter, LAST] = target
    waiting[waiter, TARGET] = target
    waiting[waiter, NEXT] = link_state[target, FIRST_WAITER]
    link_state[target, FIRST_WAITER] = waiter


@njit(cache=True)
def delist(link_state, waiting, waiter):  # type: ignore[no-untyped-def]
    """Take a waiter out of the queue it stands in."""
    target = waiting[waiter, TARGET]
    before = NOBODY
    other = link_state[target, FIRST_WAITER]
    while other != waiter:
        before = other
        other = waiting[other, NEXT]
    if before == NOBODY:
        link_state[target, FIRST_WAITER] = waiting[waiter, NEXT]
    else:
        waiting[before, NEXT] = waiting[waiter, NEXT]
    waiting[waiter, TARGET] = NOBODY


@njit(cache=True)
def whose_turn(link_state, waiting, target):  # type: ignore[no-untyped-def]
    """Waiter that has had least of its share (ties: lowest row)."""
    best = link_state[target, FIRST_WAITER]
    other = waiting[best, NEXT]
    while other != NOBODY:
        if waiting[other, TAG] < waiting[best, TAG] or (waiting[other, TAG] == waiting[best, TAG] and other < best):
            best = other
        other = waiting[other, NEXT]
    return best


@njit(cache=True, inline="always")
def keep_pace(allowed_us, now, headway_us):  # type: ignore[no-untyped-def]
    """Next moment a headway allows; the part of a millisecond that event times round away is not lost."""
    exact = now * 1000
    if exact - allowed_us < 1000:
        exact = allowed_us
    return exact + headway_us


@njit(cache=True)
def enter(link_fixed, link_state, slot_vehicle, slot_ms, vehicle, heap, clock, link, who, now, cycle_ms):  # type: ignore[no-untyped-def]
    """Put a vehicle onto a link."""
    count = link_state[link, IN]
    slot = link_fixed[link, SLOTS] + count % (link_fixed[link, STORAGE] + 1)
    slot_vehicle[slot] = who
    slot_ms[slot] = now + (link_fixed[link, FREE_MS] * vehicle[who, PACE_PERMILLE]) // 1000
    link_state[link, IN] = count + 1
    headway = (link_fixed[link, HEADWAY_US] * vehicle[who, GAP_PERMILLE]) // 1000
    link_state[link, NEXT_IN_US] = keep_pace(link_state[link, NEXT_IN_US], now, headway)
    vehicle[who, ENTER_MS] = now
    if count == link_state[link, OUT]:
        schedule_head(link_fixed, link_state, slot_ms, heap, clock, link, cycle_ms)


@njit(cache=True)
def leave(link_fixed, link_state, slot_vehicle, slot_ms, vehicle, link, now):  # type: ignore[no-untyped-def]
    """Take the head vehicle off a link; its space travels back as a hole. Returns the vehicle."""
    count = link_state[link, OUT]
    slot = link_fixed[link, SLOTS] + count % (link_fixed[link, STORAGE] + 1)
    who = slot_vehicle[slot]
    slot_ms[slot] = now + link_fixed[link, WAVE_MS]
    link_state[link, OUT] = count + 1
    headway = (link_fixed[link, HEADWAY_US] * vehicle[who, GAP_PERMILLE]) // 1000
    link_state[link, NEXT_OUT_US] = keep_pace(link_state[link, NEXT_OUT_US], now, headway)
    link_state[link, HEAD_EVENT] = NEVER
    return who


@njit(cache=True)
def record(link_sums, vehicle, who, link, now, clock, n_fleet, out_car, out_link, out_enter, out_exit):  # type: ignore[no-untyped-def]
    """Count a completed traversal; fleet cars also get a row."""
    entered = vehicle[who, ENTER_MS]
    link_sums[link, 0] += 1
    link_sums[link, 1] += now - entered
    clock[MOVED] += 1
    if who < n_fleet:
        row = clock[TRAVERSALS]
        out_car[row] = who
        out_link[row] = link
        out_enter[row] = entered
        out_exit[row] = now
        clock[TRAVERSALS] = row + 1


@njit(cache=True)
def ring_through(link_state, waiting, link):  # type: ignore[no-untyped-def]
    """Length of the closed ring of full links that `link` stands in, and its lowest link; (0, link) for none."""
    length, lowest = 0, link
    other = link
    mark, reach = NOBODY, 1
    while True:
        target = waiting[other, TARGET]
        if target == NOBODY or link_state[target, GATE_EVENT] != NEVER:
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


@njit(cache=True)
def watch_ring(link_state, waiting, ring_seen, heap, clock, link, now, ring_ms, n_links):  # type: ignore[no-untyped-def]
    """If `link` closes a ring of blocked links, set the event at which the ring may turn."""
    length, lowest = ring_through(link_state, waiting, link)
    if length and not (ring_seen[lowest, 0] >= now and ring_seen[lowest, 1] == link_state[lowest, OUT]):
        ring_seen[lowest, 0] = now + ring_ms
        ring_seen[lowest, 1] = link_state[lowest, OUT]
        push(heap, clock, now + ring_ms, 2 * n_links + lowest)


@njit(cache=True)
def advance(  # type: ignore[no-untyped-def]
    until,
    link_fixed,
    link_state,
    link_sums,
    waiting,
    weight,
    ring_seen,
    slot_vehicle,
    slot_ms,
    vehicle,
    route,
    source,
    departing,
    heap,
    clock,
    cycle_ms,
    ring_ms,
    n_fleet,
    out_car,
    out_link,
    out_enter,
    out_exit,
    arrived,
    arrived_ms,
):
    """Process every event before `until`.

    `departing` lists vehicles in order of departure. Vehicles below `n_fleet` are fleet
    cars and get traversal rows; `arrived` gets every vehicle that ends its route.
    Returns DONE, or why it paused: the caller makes room and calls again.
    """
    n_links = len(link_state)
    while True:
        if clock[TRAVERSALS] >= len(out_car) or clock[ARRIVALS] >= len(arrived):
            return BUFFERS_FULL
        if clock[HEAP_SIZE] + 8 >= len(heap):
            return HEAP_FULL
        pointer = clock[NEXT_DEPARTURE]
        starts = vehicle[departing[pointer], DEPART_MS] if pointer < len(departing) else NEVER
        key = heap[0] if clock[HEAP_SIZE] else NEVER
        now = key >> _ID_BITS
        if starts < until and starts <= now:
            # a departure joins the source queue of its first link
            who = departing[pointer]
            clock[NEXT_DEPARTURE] = pointer + 1
            clock[IN_SOURCE] += 1
            link = route[vehicle[who, POSITION]]
            vehicle[who, NEXT_IN_SOURCE] = NOBODY
            if source[link, 0] == NOBODY:
                source[link, 0] = who
                enlist(link_state, waiting, link, n_links + link)
                schedule_gate(link_fixed, link_state, slot_ms, heap, clock, link, starts, n_links)
            else:
                vehicle[source[link, 1], NEXT_IN_SOURCE] = who
            source[link, 1] = who
            continue
        if now >= until:
            return DONE
        ident = key & _ID_MASK
        pop(heap, clock)
        if ident < n_links:
            # the head vehicle of a link is ready
            link = ident
            if link_state[link, HEAD_EVENT] != now:
                continue
            slot = link_fixed[link, SLOTS] + link_state[link, OUT] % (link_fixed[link, STORAGE] + 1)
            who = slot_vehicle[slot]
            position = vehicle[who, POSITION] + 1
            if position < vehicle[who, END]:
                target = route[position]
                if link_state[target, FIRST_WAITER] != NOBODY or room_at(link_fixed, link_state, slot_ms, target) > now:
                    # nobody overtakes those who wait
                    link_state[link, HEAD_EVENT] = NEVER
                    enlist(link_state, waiting, target, link)
                    schedule_gate(link_fixed, link_state, slot_ms, heap, clock, target, now, n_links)
                    if link_state[target, GATE_EVENT] == NEVER:
                        watch_ring(link_state, waiting, ring_seen, heap, clock, link, now, ring_ms, n_links)
                    continue
            else:
                target = NOBODY
                clock[ON_ROAD] -= 1
                arrived[clock[ARRIVALS]] = who
                arrived_ms[clock[ARRIVALS]] = now
                clock[ARRIVALS] += 1
            leave(link_fixed, link_state, slot_vehicle, slot_ms, vehicle, link, now)
            record(link_sums, vehicle, who, link, now, clock, n_fleet, out_car, out_link, out_enter, out_exit)
            if target != NOBODY:
                vehicle[who, POSITION] = position
                enter(link_fixed, link_state, slot_vehicle, slot_ms, vehicle, heap, clock, target, who, now, cycle_ms)
        elif ident < 2 * n_links:
            # a link can take its next vehicle: give the turn to a waiter
            target = ident - n_links
            if link_state[target, GATE_EVENT] != now:
                continue
            link_state[target, GATE_EVENT] = NEVER
            link = NOBODY
            while link_state[target, FIRST_WAITER] != NOBODY:
                waiter = whose_turn(link_state, waiting, target)
                delist(link_state, waiting, waiter)
                if waiter < n_links:
                    shows = green(link_fixed, waiter, now, cycle_ms)
                    if shows > now:
                        # the signal turned red while it waited
                        link_state[waiter, HEAD_EVENT] = shows
                        push(heap, clock, shows, waiter)
                        continue
                    who = leave(link_fixed, link_state, slot_vehicle, slot_ms, vehicle, waiter, now)
                    record(link_sums, vehicle, who, waiter, now, clock, n_fleet, out_car, out_link, out_enter, out_exit)
                    vehicle[who, POSITION] += 1
                    link = waiter
                else:
                    who = source[target, 0]
                    source[target, 0] = vehicle[who, NEXT_IN_SOURCE]
                    clock[IN_SOURCE] -= 1
                    clock[ON_ROAD] += 1
                    vehicle[who, FIRST_MS] = now
                link_state[target, VIRTUAL] = waiting[waiter, TAG]
                waiting[waiter, TAG] += weight[waiter]
                enter(link_fixed, link_state, slot_vehicle, slot_ms, vehicle, heap, clock, target, who, now, cycle_ms)
                if waiter >= n_links and source[target, 0] != NOBODY:
                    enlist(link_state, waiting, target, waiter)
                break
            if link_state[target, FIRST_WAITER] != NOBODY:
                schedule_gate(link_fixed, link_state, slot_ms, heap, clock, target, now, n_links)
                if link_state[target, GATE_EVENT] == NEVER:
                    # it has filled up: those left behind may stand in a ring now
                    waiter = link_state[target, FIRST_WAITER]
                    while waiter != NOBODY:
                        if waiter < n_links:
                            watch_ring(link_state, waiting, ring_seen, heap, clock, waiter, now, ring_ms, n_links)
                        waiter = waiting[waiter, NEXT]
            if link == NOBODY:
                continue
        else:
            # a ring of full links has stood for ring_ms: every head moves up by one link at the same moment
            link = ident - 2 * n_links
            length, _ = ring_through(link_state, waiting, link)
            if length == 0 or ring_seen[link, 0] != now or ring_seen[link, 1] != link_state[link, OUT]:
                continue
            if clock[TRAVERSALS] + length >= len(out_car):
                push(heap, clock, now, ident)
                return BUFFERS_FULL
            clock[RINGS_TURNED] += 1
            clock[RING_VEHICLES] += length
            other = link
            for _ in range(length):
                target = waiting[other, TARGET]
                delist(link_state, waiting, other)
                waiting[other, TARGET] = target
                who = leave(link_fixed, link_state, slot_vehicle, slot_ms, vehicle, other, now)
                record(link_sums, vehicle, who, other, now, clock, n_fleet, out_car, out_link, out_enter, out_exit)
                vehicle[who, POSITION] += 1
                other = target
            for _ in range(length):
                # the slot of the vehicle that just left is not the one the next takes: storage + 1 slots
                size = link_fixed[other, STORAGE] + 1
                who = slot_vehicle[link_fixed[other, SLOTS] + (link_state[other, OUT] - 1) % size]
                other = waiting[other, TARGET]
                enter(link_fixed, link_state, slot_vehicle, slot_ms, vehicle, heap, clock, other, who, now, cycle_ms)
            for _ in range(length):
                target = waiting[other, TARGET]
                waiting[other, TARGET] = NOBODY
                if link_state[other, HEAD_EVENT] == NEVER:
                    schedule_head(link_fixed, link_state, slot_ms, heap, clock, other, cycle_ms)
                other = target
            continue
        # `link` lost its head: those who wait for it may come, its next vehicle moves up
        if link_state[link, FIRST_WAITER] != NOBODY:
            schedule_gate(link_fixed, link_state, slot_ms, heap, clock, link, now, n_links)
        if link_state[link, IN] > link_state[link, OUT]:
            schedule_head(link_fixed, link_state, slot_ms, heap, clock, link, cycle_ms)


@njit(cache=True)
def cut_short(who, link, now, link_fixed, link_state, waiting, slot_vehicle, vehicle, heap, clock, cycle_ms):  # type: ignore[no-untyped-def]
    """Let a vehicle on `link` leave the streets at the end of that link."""
    vehicle[who, END] = vehicle[who, POSITION] + 1
    slot = link_fixed[link, SLOTS] + link_state[link, OUT] % (link_fixed[link, STORAGE] + 1)
    if slot_vehicle[slot] == who and waiting[link, TARGET] != NOBODY:
        delist(link_state, waiting, link)
        shows = green(link_fixed, link, now, cycle_ms)
        link_state[link, HEAD_EVENT] = shows
        push(heap, clock, shows, link)


@njit(cache=True)
def snapshot(now, link_fixed, link_state, link_length, link_spacing, slot_vehicle, slot_ms, vehicle, who, on, metres):  # type: ignore[no-untyped-def]
    """Vehicles on the streets at `now`: row, link, metres from the link's start. Returns how many."""
    n = 0
    for link in range(len(link_state)):
        size = link_fixed[link, STORAGE] + 1
        first = link_state[link, OUT]
        for count in range(first, link_state[link, IN]):
            slot = link_fixed[link, SLOTS] + count % size
            v = slot_vehicle[slot]
            entered = vehicle[v, ENTER_MS]
            free = max(1, slot_ms[slot] - entered)
            moved = link_length[link] * min(1.0, max(0.0, (now - entered) / free))
            who[n] = v
            on[n] = link
            # queued vehicles stand behind each other
            metres[n] = min(moved, max(0.0, link_length[link] - (count - first) * link_spacing[link]))
            n += 1
    return n
