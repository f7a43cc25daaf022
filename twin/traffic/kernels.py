"""Compiled traffic: an event-based kinematic-wave queue model, one record per vehicle.

The theory, with sources, is in `docs/traffic.md`. Events: a head vehicle is ready; a link can take
the next vehicle; a closed ring of blocked links turns. Times are integer milliseconds; headways
are kept in microseconds so that capacity does not round. Records are those of `records.py`.

Speed is a matter of cache lines: a car that moves on touches the records of two links, one slot of
each, itself and its route, and as good as none of them is in the cache.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from twin.traffic.processor_kernels import lowest_bit, prefetch

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
LOOK_AHEAD_MS = 64
SMALL = 4096  # the records of so few links stay in the cache, and looking ahead costs more than it brings
_NEAR_MASK = NEAR_MS - 1
_ID_BITS = 26
_ID_MASK = np.int64((1 << _ID_BITS) - 1)

DONE, BUFFERS_FULL, HEAP_FULL = 0, 1, 2
SIGNAL, YIELDS, METERED = 1, 2, 4

# Nothing is allocated here, so arrays need no counted references; counting them, with a locked instruction each,
# was half of the time (`docs/traffic.md`). An allocation would now be refused when the kernel is compiled.
compiled = njit(cache=True, error_model="numpy", _nrt=False)
# an array is seven machine words to the function that is called: where every car passes, that would be the work
inlined = njit(cache=True, error_model="numpy", _nrt=False, forceinline=True)


@compiled
def push_far(far, clock, time, ident):  # type: ignore[no-untyped-def]
    """Add an event to the four-ary heap of keys (time, ident)."""
    key = (time << _ID_BITS) | ident
    i = clock[FAR_SIZE]
    clock[FAR_SIZE] = i + 1
    while i > 0:
        parent = (i - 1) >> 2
        if far[parent] <= key:
            break
        far[i] = far[parent]
        i = parent
    far[i] = key


@compiled
def pop_far(far, clock):  # type: ignore[no-untyped-def]
    """Remove the heap's first event."""
    size = clock[FAR_SIZE] - 1
    clock[FAR_SIZE] = size
    key = far[size]
    i = 0
    while True:
        child = 4 * i + 1
        if child >= size:
            break
        best = child
        for k in range(child + 1, min(child + 4, size)):
            if far[k] < far[best]:
                best = k
        if far[best] >= key:
            break
        far[i] = far[best]
        i = best
    far[i] = key


@inlined
def next_due(due, time, stop):  # type: ignore[no-untyped-def]
    """First millisecond from `time` on that has a chain of events, but not after `stop`."""
    while time < stop:
        word = due[(time & _NEAR_MASK) >> 6] >> np.uint64(time & 63)
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
    other = np.int64(near[time & _NEAR_MASK])
    if other == NOBODY:
        due[(time & _NEAR_MASK) >> 6] |= np.uint64(1) << np.uint64(time & 63)
    if other == NOBODY or ident < other:
        queue[ident] = other
        near[time & _NEAR_MASK] = ident
        return
    before = other
    other = np.int64(queue[before])
    while other != NOBODY and other < ident:
        before = other
        other = np.int64(queue[before])
    queue[before] = ident
    queue[ident] = other


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


@njit(cache=True, inline="always", _nrt=False)
def ceil_ms(us):  # type: ignore[no-untyped-def]
    """First whole millisecond at or after a time in microseconds."""
    return -((-us) // 1000)


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
    slot = slots[here.slots + here.count_out % here.storage]
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
        slot = slots[there.slots + there.count_out % there.storage]
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


@inlined
def room_at(links, slots, link):  # type: ignore[no-untyped-def]
    """When the link has room for its next vehicle; NEVER while that depends on a vehicle that has not left."""
    here = links[link]
    storage = here.storage
    count_in = here.count_in
    if count_in - here.count_out >= storage:
        return NEVER
    return max(np.int64(slots[here.slots + count_in % storage].ms), ceil_ms(here.next_in_us))


@inlined
def schedule_head(links, slots, ends, near, due, queue, far, clock, link):  # type: ignore[no-untyped-def]
    """Set the event at which the head vehicle of a link may leave it."""
    here = links[link]
    arrives = np.int64(slots[here.slots + here.count_out % here.storage].ms)
    ready = max(arrives, ceil_ms(here.next_out_us))
    if here.control & SIGNAL:
        ready = green(ends, link, ready)
    push(near, due, queue, far, clock, ready, link)


@compiled
def schedule_gate(links, slots, near, due, queue, far, clock, link, now, n_links):  # type: ignore[no-untyped-def]
    """Set the event at which a link with waiters can take the next one, if that moment is known."""
    if queue[n_links + link] == IDLE:
        opens = room_at(links, slots, link)
        if opens != NEVER:
            push(near, due, queue, far, clock, max(now, opens), n_links + link)


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


@njit(cache=True, inline="always", _nrt=False)
def keep_pace(allowed_us, now, headway_us):  # type: ignore[no-untyped-def]
    """Next moment a headway allows; the part of a millisecond that event times round away is not lost."""
    exact = now * 1000
    if exact - allowed_us < 1000:
        exact = allowed_us
    return exact + headway_us


@inlined
def enter(links, slots, vehicles, route, ends, near, due, queue, far, clock, link, who, now):  # type: ignore[no-untyped-def]
    """Put a vehicle onto a link, the one at its position in the route."""
    here, car = links[link], vehicles[who]
    count = here.count_in
    slot = slots[here.slots + count % here.storage]
    slot.vehicle = who
    slot.ms = now + (np.int64(here.free_ms) * car.pace_permille) // 1000
    here.count_in = count + 1
    here.next_in_us = keep_pace(here.next_in_us, now, (np.int64(here.headway_us) * car.gap_permille) // 1000)
    car.enter_ms = now
    position = car.position + 1
    car.next_link = route[position] if position < car.end else NOBODY
    if count == here.count_out:
        schedule_head(links, slots, ends, near, due, queue, far, clock, link)


@inlined
def leave(links, slots, vehicles, ends, link, now, clock, n_fleet, out_car, out_link, out_enter, out_exit):  # type: ignore[no-untyped-def]
    """Take the head vehicle off a link; its space travels back as a hole. Returns the vehicle.

    The traversal is counted; fleet cars also get a row.
    """
    here = links[link]
    count = here.count_out
    slot = slots[here.slots + count % here.storage]
    who = np.int64(slot.vehicle)
    car = vehicles[who]
    # a space of K is free between two holes: the one of the vehicle before and its own
    hole = now + here.wave_ms
    if here.fraction == 0:
        slot.ms = hole
    elif count == 0:
        slot.ms = LONG_AGO
    else:
        slot.ms = hole - (here.fraction * (hole - here.last_hole_ms)) // 1000
    here.last_hole_ms = hole
    here.count_out = count + 1
    headway = (np.int64(here.headway_us) * car.gap_permille) // 1000
    if here.control & METERED:
        headway = headway * ends[link].stretch_permille // 1000
    here.next_out_us = keep_pace(here.next_out_us, now, headway)
    entered = car.enter_ms
    here.spent_ms += now - entered
    clock[MOVED] += 1
    if who < n_fleet:
        row = clock[TRAVERSALS]
        out_car[row] = who
        out_link[row] = link
        out_enter[row] = entered
        out_exit[row] = now
        clock[TRAVERSALS] = row + 1
    return who


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


@compiled
def advance(  # type: ignore[no-untyped-def]
    until, links, slots, vehicles, route, ends, foes, merges, waiting, departing, near, due, queue, far, clock,
    ring_ms, n_fleet, out_car, out_link, out_enter, out_exit, arrived, arrived_ms,
):  # fmt: skip
    """Process every event before `until`, in order of time, at one time in order of ident.

    `departing` lists vehicles in order of departure. Vehicles below `n_fleet` are fleet
    cars and get traversal rows; `arrived` gets every vehicle that ends its route.
    Returns DONE, or why it paused: the caller makes room and calls again.
    """
    n_links = len(links)
    pointer = clock[NEXT_DEPARTURE]
    starts = np.int64(vehicles[departing[pointer]].depart_ms) if pointer < len(departing) else NEVER
    cursor = ahead = clock[CURSOR]
    look_ahead = n_links > SMALL
    soon = soon_1 = soon_2 = soon_3 = soon_4 = np.int64(0)
    while True:
        if clock[TRAVERSALS] >= len(out_car) or clock[ARRIVALS] >= len(arrived):
            return BUFFERS_FULL
        if clock[FAR_SIZE] + 64 >= len(far):
            return HEAP_FULL
        key = far[0] if clock[FAR_SIZE] else NEVER
        far_ms = key >> _ID_BITS
        stop = min(until, far_ms, starts)
        cursor = next_due(due, cursor, stop)
        clock[CURSOR] = cursor
        if starts < until and starts <= far_ms and starts <= cursor:
            # a departure joins the source queue of its first link
            who = departing[pointer]
            pointer += 1
            clock[NEXT_DEPARTURE] = pointer
            clock[IN_SOURCE] += 1
            target = np.int64(route[vehicles[who].position])
            vehicles[who].next_in_source = NOBODY
            if merges[target].source_first == NOBODY:
                merges[target].source_first = who
                enlist(links, merges, waiting, target, n_links + target)
                schedule_gate(links, slots, near, due, queue, far, clock, target, starts, n_links)
            else:
                vehicles[merges[target].source_last].next_in_source = who
            merges[target].source_last = who
            starts = np.int64(vehicles[departing[pointer]].depart_ms) if pointer < len(departing) else NEVER
            continue
        if cursor >= until and far_ms >= until:
            return DONE
        ident = np.int64(near[cursor & _NEAR_MASK])
        if ident != NOBODY and cursor < until and (cursor << _ID_BITS) + ident < key:
            now = cursor
            near[cursor & _NEAR_MASK] = queue[ident]
            if queue[ident] == NOBODY:
                due[(cursor & _NEAR_MASK) >> 6] &= ~(np.uint64(1) << np.uint64(cursor & 63))
        else:
            now = far_ms
            ident = key & _ID_MASK
            pop_far(far, clock)
        # Cache misses would be most of the time spent. An event some steps ahead is known already: what it
        # will touch is fetched link by link of the chain that leads there, one stage per event.
        if look_ahead:
            soon = np.int64(queue[soon]) if soon != NOBODY else NOBODY
            if soon < 0:
                ahead = next_due(due, max(ahead + 1, cursor + LOOK_AHEAD_MS // 4), cursor + LOOK_AHEAD_MS)
                soon = np.int64(near[ahead & _NEAR_MASK])
            if soon_4 != NOBODY:
                prefetch(slots, links[soon_4].slots + links[soon_4].count_in % links[soon_4].storage)
            soon_4 = NOBODY
            if soon_3 != NOBODY:
                here = links[soon_3]
                who = np.int64(slots[here.slots + here.count_out % here.storage].vehicle)
                if who != NOBODY:
                    prefetch(route, np.int64(vehicles[who].position) + 2)
                    soon_4 = np.int64(vehicles[who].next_link)
                    if soon_4 != NOBODY:
                        prefetch(links, soon_4)
            soon_3 = soon_2
            if soon_2 != NOBODY:
                here = links[soon_2]
                who = np.int64(slots[here.slots + here.count_out % here.storage].vehicle)
                if who != NOBODY:
                    prefetch(vehicles, who)
            soon_2 = soon_1
            if soon_1 != NOBODY:
                here = links[soon_1]
                prefetch(slots, here.slots + here.count_out % here.storage)
            soon_1 = soon - n_links if soon >= n_links else soon
            if soon_1 != NOBODY:
                prefetch(links, soon_1)
        if ident < n_links:
            # the head vehicle of a link is ready
            link = ident
            queue[link] = IDLE
            here = links[link]
            if here.control & YIELDS:
                goes = may_go_at(links, slots, vehicles, ends, foes, link, now)
                if goes > now:
                    push(near, due, queue, far, clock, goes, link)
                    continue
            who = np.int64(slots[here.slots + here.count_out % here.storage].vehicle)
            target = np.int64(vehicles[who].next_link)
            if target == NOBODY:
                clock[ON_ROAD] -= 1
                arrived[clock[ARRIVALS]] = who
                arrived_ms[clock[ARRIVALS]] = now
                clock[ARRIVALS] += 1
            elif links[target].first_waiter != NOBODY or room_at(links, slots, target) > now:
                # nobody overtakes those who wait
                enlist(links, merges, waiting, target, link)
                schedule_gate(links, slots, near, due, queue, far, clock, target, now, n_links)
                if queue[n_links + target] == IDLE:
                    watch_ring(links, merges, waiting, queue, far, clock, link, now, ring_ms, n_links)
                continue
            leave(links, slots, vehicles, ends, link, now, clock, n_fleet, out_car, out_link, out_enter, out_exit)
            if target != NOBODY:
                vehicles[who].position += 1
                enter(links, slots, vehicles, route, ends, near, due, queue, far, clock, target, who, now)
        elif ident < 2 * n_links:
            # a link can take its next vehicle: give the turn to a waiter
            target = ident - n_links
            queue[ident] = IDLE
            link = NOBODY
            while links[target].first_waiter != NOBODY:
                waiter = whose_turn(links, waiting, target)
                delist(links, waiting, waiter)
                if waiter < n_links:
                    control = links[waiter].control
                    goes = may_go_at(links, slots, vehicles, ends, foes, waiter, now) if control else now
                    if goes > now:
                        # the signal turned red while it waited, or a car with right of way is near
                        push(near, due, queue, far, clock, goes, waiter)
                        continue
                    who = leave(
                        links,
                        slots,
                        vehicles,
                        ends,
                        waiter,
                        now,
                        clock,
                        n_fleet,
                        out_car,
                        out_link,
                        out_enter,
                        out_exit,
                    )
                    vehicles[who].position += 1
                    link = waiter
                else:
                    who = np.int64(merges[target].source_first)
                    merges[target].source_first = vehicles[who].next_in_source
                    clock[IN_SOURCE] -= 1
                    clock[ON_ROAD] += 1
                    vehicles[who].first_ms = now
                merges[target].virtual = waiting[waiter].tag
                waiting[waiter].tag += waiting[waiter].weight
                enter(links, slots, vehicles, route, ends, near, due, queue, far, clock, target, who, now)
                if waiter >= n_links and merges[target].source_first != NOBODY:
                    enlist(links, merges, waiting, target, waiter)
                break
            if links[target].first_waiter != NOBODY:
                schedule_gate(links, slots, near, due, queue, far, clock, target, now, n_links)
                if queue[ident] == IDLE:
                    # it has filled up: those left behind may stand in a ring now
                    waiter = np.int64(links[target].first_waiter)
                    while waiter != NOBODY:
                        if waiter < n_links:
                            watch_ring(links, merges, waiting, queue, far, clock, waiter, now, ring_ms, n_links)
                        waiter = np.int64(waiting[waiter].next)
            if link == NOBODY:
                continue
        else:
            # a ring of full links has stood for ring_ms: every head moves up by one link at the same moment
            link = ident - 2 * n_links
            length, _ = ring_through(waiting, queue, link, n_links)
            if length == 0 or merges[link].ring_seen_ms != now or merges[link].ring_seen_out != links[link].count_out:
                continue
            if clock[TRAVERSALS] + length >= len(out_car):
                push_far(far, clock, now, ident)
                return BUFFERS_FULL
            clock[RINGS_TURNED] += 1
            clock[RING_VEHICLES] += length
            other = link
            for _ in range(length):
                target = np.int64(waiting[other].target)
                delist(links, waiting, other)
                waiting[other].target = target
                merges[other].ring_turns += 1
                who = leave(
                    links, slots, vehicles, ends, other, now, clock, n_fleet, out_car, out_link, out_enter, out_exit
                )
                vehicles[who].position += 1
                other = target
            who = np.int64(slots[links[link].slots + (links[link].count_out - 1) % links[link].storage].vehicle)
            for _ in range(length):
                other = np.int64(waiting[other].target)
                # the next vehicle's slot is the one that this vehicle takes
                here = links[other]
                follows = np.int64(slots[here.slots + (here.count_out - 1) % here.storage].vehicle)
                enter(links, slots, vehicles, route, ends, near, due, queue, far, clock, other, who, now)
                who = follows
            for _ in range(length):
                target = np.int64(waiting[other].target)
                waiting[other].target = NOBODY
                if queue[other] == IDLE:
                    schedule_head(links, slots, ends, near, due, queue, far, clock, other)
                other = target
            continue
        # `link` lost its head: those who wait for it may come, its next vehicle moves up
        if links[link].first_waiter != NOBODY:
            schedule_gate(links, slots, near, due, queue, far, clock, link, now, n_links)
        if links[link].count_in > links[link].count_out:
            schedule_head(links, slots, ends, near, due, queue, far, clock, link)


@compiled
def divert(  # type: ignore[no-untyped-def]
    rows, position, end, now, links, slots, vehicles, route, ends, waiting, near, due, queue, far, clock
):  # fmt: skip
    """Give vehicles routes `route[position:end]` that begin with the link they are on, or wait to enter."""
    for i in range(len(rows)):
        who = rows[i]
        link = np.int64(route[position[i]])
        vehicles[who].position = position[i]
        vehicles[who].end = end[i]
        vehicles[who].next_link = route[position[i] + 1] if position[i] + 1 < end[i] else NOBODY
        here = links[link]
        if slots[here.slots + here.count_out % here.storage].vehicle == who and waiting[link].target != NOBODY:
            # it leaves the queue before its old next link and asks again
            delist(links, waiting, link)
            shows = green(ends, link, now) if here.control & SIGNAL else now
            push(near, due, queue, far, clock, shows, link)
