"""Compiled traffic: an event-based kinematic-wave queue model, one record per vehicle.

The theory, with sources, is in `docs/traffic.md`. Events: a head vehicle is ready; a link can take
the next vehicle; a closed ring of blocked links turns. Times are integer milliseconds; headways
are kept in microseconds so that capacity does not round. Records are those of `records.py`.

Speed is a matter of cache lines: a car that moves on touches the records of two links, one slot of
each, itself and its route, and as good as none of them is in the cache.
"""

from __future__ import annotations

import numpy as np

from twin.traffic.calendar_kernels import (
    ARRIVALS,
    CURSOR,
    FAR_SIZE,
    ID_BITS,
    ID_MASK,
    IDLE,
    IN_SOURCE,
    MOVED,
    NEAR_MASK,
    NEVER,
    NEXT_DEPARTURE,
    NOBODY,
    ON_ROAD,
    RING_VEHICLES,
    RINGS_TURNED,
    TRAVERSALS,
    ceil_ms,
    compiled,
    inlined,
    next_due,
    pasted,
    push,
    push_far,
)
from twin.traffic.heap_kernels import heap_pop
from twin.traffic.junction_kernels import METERED, SIGNAL, YIELDS, green, may_go_at
from twin.traffic.processor_kernels import prefetch
from twin.traffic.slot_kernels import CAR, head_slot, leave_hole, next_slot, space_at, take_space
from twin.traffic.waiting_kernels import delist, enlist, ring_through, watch_ring, whose_turn

LOOK_AHEAD_MS = 64
SMALL = 4096  # the records of so few links stay in the cache, and looking ahead costs more than it brings

DONE, BUFFERS_FULL, HEAP_FULL = 0, 1, 2


@inlined
def room_at(links, slots, link, size):  # type: ignore[no-untyped-def]
    """When the link takes its next vehicle, of a size; NEVER while that depends on one that has not left."""
    return max(space_at(links, slots, link, size), ceil_ms(links[link].next_in_us))


@inlined
def schedule_head(links, slots, ends, near, due, queue, far, clock, link):  # type: ignore[no-untyped-def]
    """Set the event at which the head vehicle of a link may leave it."""
    here = links[link]
    arrives = np.int64(slots[head_slot(here)].ms)
    ready = max(arrives, ceil_ms(here.next_out_us))
    if here.control & SIGNAL:
        ready = green(ends, link, ready)
    push(near, due, queue, far, clock, ready, link)


@compiled
def schedule_gate(links, slots, near, due, queue, far, clock, link, now, n_links):  # type: ignore[no-untyped-def]
    """Set the event at which a link with waiters can take the next one, if that moment is known, for a car."""
    if queue[n_links + link] == IDLE:
        opens = room_at(links, slots, link, CAR)
        if opens != NEVER:
            push(near, due, queue, far, clock, max(now, opens), n_links + link)


@pasted
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
    car.taken_permille = take_space(links, slots, link, np.int64(car.size_permille))
    slot = slots[next_slot(here)]
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
    who = np.int64(slots[head_slot(here)].vehicle)
    car = vehicles[who]
    leave_hole(here, slots, now + here.wave_ms, np.int64(car.taken_permille))
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
        far_ms = key >> ID_BITS
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
            if merges[target].source_first == NOBODY:
                merges[target].source_first = who
                enlist(links, merges, waiting, target, n_links + target)
                schedule_gate(links, slots, near, due, queue, far, clock, target, starts, n_links)
            else:
                vehicles[merges[target].source_last].first_ms = -2 - who
            merges[target].source_last = who
            starts = np.int64(vehicles[departing[pointer]].depart_ms) if pointer < len(departing) else NEVER
            continue
        if cursor >= until and far_ms >= until:
            return DONE
        ident = np.int64(near[cursor & NEAR_MASK])
        if ident != NOBODY and cursor < until and (cursor << ID_BITS) + ident < key:
            now = cursor
            near[cursor & NEAR_MASK] = queue[ident]
            if queue[ident] == NOBODY:
                due[(cursor & NEAR_MASK) >> 6] &= ~(np.uint64(1) << np.uint64(cursor & 63))
        else:
            now = far_ms
            ident = key & ID_MASK
            clock[FAR_SIZE] = heap_pop(far, clock[FAR_SIZE])
        # Cache misses would be most of the time spent. An event some steps ahead is known already: what it
        # will touch is fetched link by link of the chain that leads there, one stage per event.
        if look_ahead:
            soon = np.int64(queue[soon]) if soon != NOBODY else NOBODY
            if soon < 0:
                ahead = next_due(due, max(ahead + 1, cursor + LOOK_AHEAD_MS // 4), cursor + LOOK_AHEAD_MS)
                soon = np.int64(near[ahead & NEAR_MASK])
            if soon_4 != NOBODY:
                prefetch(slots, next_slot(links[soon_4]))
            soon_4 = NOBODY
            if soon_3 != NOBODY:
                here = links[soon_3]
                who = np.int64(slots[head_slot(here)].vehicle)
                if who >= 0:
                    prefetch(route, np.int64(vehicles[who].position) + 2)
                    soon_4 = np.int64(vehicles[who].next_link)
                    if soon_4 != NOBODY:
                        prefetch(links, soon_4)
            soon_3 = soon_2
            if soon_2 != NOBODY:
                here = links[soon_2]
                who = np.int64(slots[head_slot(here)].vehicle)
                if who >= 0:
                    prefetch(vehicles, who)
            soon_2 = soon_1
            if soon_1 != NOBODY:
                here = links[soon_1]
                prefetch(slots, head_slot(here))
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
            who = np.int64(slots[head_slot(here)].vehicle)
            target = np.int64(vehicles[who].next_link)
            if target == NOBODY:
                clock[ON_ROAD] -= 1
                arrived[clock[ARRIVALS]] = who
                arrived_ms[clock[ARRIVALS]] = now
                clock[ARRIVALS] += 1
            elif (
                links[target].first_waiter != NOBODY
                or room_at(links, slots, target, np.int64(vehicles[who].size_permille)) > now
            ):
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
            opens = now
            while links[target].first_waiter != NOBODY:
                waiter = whose_turn(links, waiting, target)
                who = slots[head_slot(links[waiter])].vehicle if waiter < n_links else merges[target].source_first
                size = np.int64(vehicles[who].size_permille)
                if size > CAR:
                    opens = room_at(links, slots, target, size)
                    if opens > now:  # it has its turn, and nobody shorter takes it
                        break
                delist(links, waiting, waiter)
                if waiter < n_links:
                    control = links[waiter].control & (SIGNAL | YIELDS)
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
                    merges[target].source_first = -2 - vehicles[who].first_ms if vehicles[who].first_ms < -1 else NOBODY
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
                if opens <= now:
                    schedule_gate(links, slots, near, due, queue, far, clock, target, now, n_links)
                elif opens != NEVER:
                    push(near, due, queue, far, clock, opens, ident)
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
            other, coming = link, NOBODY
            for more in range(length, -1, -1):
                who = NOBODY
                if more:
                    target = np.int64(waiting[other].target)
                    delist(links, waiting, other)
                    waiting[other].target = target
                    merges[other].ring_turns += 1
                    who = leave(
                        links, slots, vehicles, ends, other, now, clock, n_fleet, out_car, out_link, out_enter, out_exit
                    )
                    vehicles[who].position += 1
                if coming != NOBODY:
                    enter(links, slots, vehicles, route, ends, near, due, queue, far, clock, other, coming, now)
                if more:
                    other, coming = target, who
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
        if slots[head_slot(here)].vehicle == who and waiting[link].target != NOBODY:
            # it leaves the queue before its old next link and asks again
            delist(links, waiting, link)
            shows = green(ends, link, now) if here.control & SIGNAL else now
            push(near, due, queue, far, clock, shows, link)
