"""Compiled telemetry: messages of a tick, the store in every car, and the share of the air.

A car's store is a first-in first-out chain of *runs* in one pool: run e holds
`run_bytes[e]` bytes of whole messages of one service (only the first message of a chain
may have been sent in part). Most chains have a few runs, so memory follows what waits.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from twin.chance import draw

# columns of `air`, rows cell x service; HELD lasts, the others are counted per interval
GENERATED, DELIVERED, DROPPED, RESENT, MESSAGES, MOVED, HELD = range(7)
AIR_FIELDS = 7
# entries of `book`
FREE, FREE_RUNS, PENDING = range(3)


@njit(cache=True, inline="always")
def boundaries(start, stop, phase, period):  # type: ignore[no-untyped-def]
    """How many moments phase + k * period lie in [start, stop)."""
    return -((phase - stop) // period) + (phase - start) // period


@njit(cache=True, inline="always")
def event_tick(kind, count):  # type: ignore[no-untyped-def]
    """Counter of the draw for the next event: the first two kinds take turns, others have ranges of their own."""
    return 2 * count + kind if kind < 2 else (np.int64(kind) << 40) + count


@njit(cache=True)
def driving_messages(  # type: ignore[no-untyped-def]
    n,
    car,
    link,
    enter_ms,
    exit_ms,
    driven_mm,
    engaged_mm,
    online,
    phase_u,
    link_cell,
    period_ms,
    trip_mm,
    next_mm,
    mean_mm,
    by_engaged,
    count,
    last_cell,
    handovers,
    sent,
    services,
    seed,
    stream,
    out_car,
    out_cell,
    out_service,
    out_count,
    out_row,
):
    """Messages of moving cars, one record per traversal and service; returns how many.

    Periodic ones every `period_ms[c]` at the car's own moments inside [enter, exit). Events of
    `services[1:]` after exponential distances, driven or (where `by_engaged`) with assistance:
    `trip_mm[j, c]` is the distance so far, `next_mm[j, c]` where the next comes.
    """
    phase_ms = np.int64(0)
    for i in range(n):
        c = car[i]
        if online[c] == 0:
            continue
        cell = link_cell[link[i]]
        if last_cell[c] != cell:
            if last_cell[c] >= 0:
                handovers[cell] += 1
            last_cell[c] = cell
        phase_ms = np.int64(phase_u[c] * period_ms[c])
        k = boundaries(enter_ms[i], exit_ms[i], phase_ms, period_ms[c])
        if k > 0:
            out_car[sent] = c
            out_cell[sent] = cell
            out_service[sent] = services[0]
            out_count[sent] = k
            out_row[sent] = i
            sent += 1
        for j in range(len(mean_mm)):
            trip_mm[j, c] += engaged_mm[i] if by_engaged[j] else driven_mm[i]
            if trip_mm[j, c] >= next_mm[j, c]:
                k = 0
                while trip_mm[j, c] >= next_mm[j, c]:
                    k += 1
                    count[j, c] += 1
                    u = draw(seed, stream, c, event_tick(j, count[j, c]))
                    next_mm[j, c] += 1 + np.int64(-mean_mm[j] * math.log1p(-u))
                out_car[sent] = c
                out_cell[sent] = cell
                out_service[sent] = services[1 + j]
                out_count[sent] = k
                out_row[sent] = i
                sent += 1
    return sent


@njit(cache=True)
def driving_periodic(  # type: ignore[no-untyped-def]
    n,
    car,
    link,
    enter_ms,
    exit_ms,
    may,
    phase_u,
    link_cell,
    period_ms,
    service,
    sent,
    out_car,
    out_cell,
    out_service,
    out_count,
    out_row,
):
    """Messages of one further service of moving cars, at the car's own moments inside [enter, exit)."""
    for i in range(n):
        c = car[i]
        if may[c] == 0:
            continue
        k = boundaries(enter_ms[i], exit_ms[i], np.int64(phase_u[c] * period_ms), period_ms)
        if k > 0:
            out_car[sent] = c
            out_cell[sent] = link_cell[link[i]]
            out_service[sent] = service
            out_count[sent] = k
            out_row[sent] = i
            sent += 1
    return sent


@njit(cache=True)
def periodic_messages(  # type: ignore[no-untyped-def]
    cars,
    online,
    phase_u,
    car_link,
    car_node,
    link_cell,
    node_cell,
    period_ms,
    start_ms,
    stop_ms,
    service,
    sent,
    out_car,
    out_cell,
    out_service,
    out_count,
    out_row,
):
    """Messages of standing cars at their own moments inside [start, stop)."""
    for i in range(len(cars)):
        c = cars[i]
        if online[c] == 0:
            continue
        k = boundaries(start_ms, stop_ms, np.int64(phase_u[c] * period_ms), period_ms)
        if k > 0:
            out_car[sent] = c
            out_cell[sent] = link_cell[car_link[c]] if car_link[c] >= 0 else node_cell[car_node[c]]
            out_service[sent] = service
            out_count[sent] = k
            out_row[sent] = -1
            sent += 1
    return sent


@njit(cache=True)
def _settle(c, cell, head, at_cell, run_next, run_service, run_bytes, air):  # type: ignore[no-untyped-def]
    """Book what waits in a car to the cell it is in now."""
    old = at_cell[c]
    if old == cell:
        return
    at_cell[c] = cell
    e = head[c]
    while e >= 0:
        s = run_service[e]
        air[old, s, HELD] -= run_bytes[e]
        air[old, s, MOVED] -= run_bytes[e]
        air[cell, s, HELD] += run_bytes[e]
        air[cell, s, MOVED] += run_bytes[e]
        e = run_next[e]


@njit(cache=True)
def store(  # type: ignore[no-untyped-def]
    records,
    rec_car,
    rec_cell,
    rec_service,
    rec_count,
    message_b,
    limit_b,
    generation,
    alarm,
    head,
    tail,
    at_cell,
    listed,
    pending,
    run_next,
    run_service,
    run_bytes,
    book,
    generated_b,
    buffered_b,
    dropped_b,
    air,
):
    """Put the tick's messages into the cars' stores; what does not fit pushes out the oldest.

    Alarms are kept as long as anything else can go. The caller makes sure that the pool
    has a free run per record.
    """
    for i in range(records):
        c = rec_car[i]
        cell = rec_cell[i]
        s = rec_service[i]
        size = rec_count[i] * message_b[s]
        if head[c] >= 0:
            _settle(c, cell, head, at_cell, run_next, run_service, run_bytes, air)
        else:
            at_cell[c] = cell
        e = tail[c]
        if e >= 0 and run_service[e] == s:
            run_bytes[e] += size
        else:
            new = book[FREE]
            book[FREE] = run_next[new]
            book[FREE_RUNS] -= 1
            run_next[new] = -1
            run_service[new] = s
            run_bytes[new] = size
            if e >= 0:
                run_next[e] = new
            else:
                head[c] = new
            tail[c] = new
        generated_b[c] += size
        buffered_b[c] += size
        air[cell, s, GENERATED] += size
        air[cell, s, MESSAGES] += rec_count[i]
        air[cell, s, HELD] += size
        if listed[c] == 0:
            listed[c] = 1
            pending[book[PENDING]] = c
            book[PENDING] += 1
        limit = limit_b[generation[c]]
        if buffered_b[c] > limit:
            for keep_alarms in range(1, -1, -1):
                before = np.int32(-1)
                e = head[c]
                while e >= 0 and buffered_b[c] > limit:
                    after = run_next[e]
                    s = run_service[e]
                    if keep_alarms and s == alarm:
                        before = e
                        e = after
                        continue
                    # whole messages go; the first of a chain may be a rest of one that was sent in part
                    rest = run_bytes[e] % message_b[s]
                    over = buffered_b[c] - limit
                    if over <= rest:
                        gone = rest
                    else:
                        gone = rest + -((rest - over) // message_b[s]) * message_b[s]
                    gone = min(gone, run_bytes[e])
                    run_bytes[e] -= gone
                    buffered_b[c] -= gone
                    dropped_b[c] += gone
                    air[cell, s, DROPPED] += gone
                    air[cell, s, HELD] -= gone
                    if run_bytes[e] == 0:
                        if before >= 0:
                            run_next[before] = after
                        else:
                            head[c] = after
                        if after < 0:
                            tail[c] = before
                        run_next[e] = book[FREE]
                        book[FREE] = e
                        book[FREE_RUNS] += 1
                        e = after


@njit(cache=True)
def ask(  # type: ignore[no-untyped-def]
    start_ms,
    stop_ms,
    pending,
    n,
    buffered_b,
    batch_b,
    car_link,
    car_node,
    home_node,
    link_cell,
    node_cell,
    link_dead,
    node_dead,
    outage,
    hole_ms,
    wifi,
    wifi_cell,
    wifi_b,
    underground,
    underground_share,
    hour,
    next_try_ms,
    rate_b,
    generation,
    head,
    at_cell,
    run_next,
    run_service,
    run_bytes,
    air,
    seed,
    stream,
    takes,
    want,
    fails,
    cell_want,
):
    """What every car with something to send asks of its cell in this tick.

    `want[i]` in bytes, `fails[i]` 1 where the attempt will break off (coverage hole while moving,
    cloud down): it costs air for one batch at most and must be sent again. A car that stands at
    home on its own Wi-Fi uses `wifi_cell`. Garages below ground have no signal in a share of hours.
    """
    cell_want[:] = 0
    for i in range(n):
        c = pending[i]
        moving = car_link[c] >= 0
        cell = link_cell[car_link[c]] if moving else node_cell[car_node[c]]
        at_home = not moving and car_node[c] == home_node[c]
        if at_home and wifi[c]:
            cell = wifi_cell
        _settle(c, cell, head, at_cell, run_next, run_service, run_bytes, air)
        want[i] = 0
        fails[i] = 0
        if next_try_ms[c] >= stop_ms or (moving and link_dead[car_link[c]]):
            continue
        if cell != wifi_cell and not moving:
            if node_dead[car_node[c]]:
                continue
            if at_home and underground[c] and draw(seed, stream, c, (np.int64(1) << 40) + hour) < underground_share:
                continue
        asks = min(buffered_b[c], wifi_b if cell == wifi_cell else rate_b[generation[c]])
        if not takes[cell] or (moving and draw(seed, stream, c, start_ms // hole_ms) < outage[cell]):
            fails[i] = 1
            asks = min(asks, batch_b)
        want[i] = asks
        cell_want[cell] += asks


@njit(cache=True)
def share_out(cell_of, want, n, cell_want, cell_cap, give, order, start):  # type: ignore[no-untyped-def]
    """Max-min fair whole bytes per asker: everybody gets `min(want, level of the cell)`.

    `order` (n) and `start` (cells + 1) are scratch. The sum per cell is exactly
    min(sum of wants, capacity); bytes that do not divide go to the first rows.
    """
    cells = len(cell_cap)
    tight = False
    for cell in range(cells):
        tight = tight or cell_want[cell] > cell_cap[cell]
    if not tight:
        for i in range(n):
            give[i] = want[i]
        return
    start[:] = 0
    for i in range(n):
        start[cell_of[i] + 1] += 1
    for cell in range(cells):
        start[cell + 1] += start[cell]
    for i in range(n):
        order[start[cell_of[i]]] = i
        start[cell_of[i]] += 1
    for cell in range(cells - 1, -1, -1):
        start[cell + 1] = start[cell]
    start[0] = 0
    for cell in range(cells):
        first, last = start[cell], start[cell + 1]
        if cell_want[cell] <= cell_cap[cell]:
            for j in range(first, last):
                give[order[j]] = want[order[j]]
            continue
        left = cell_cap[cell]
        asking = 0
        for j in range(first, last):
            give[order[j]] = -1
            asking += 1
        while asking > 0:
            level = left // asking
            served = 0
            for j in range(first, last):
                i = order[j]
                if give[i] < 0 and want[i] <= level:
                    give[i] = want[i]
                    left -= want[i]
                    served += 1
            asking -= served
            if served == 0:
                extra = left - level * asking
                for j in range(first, last):
                    i = order[j]
                    if give[i] < 0:
                        give[i] = level
                        if extra > 0:
                            give[i] += 1
                            extra -= 1
                asking = 0


@njit(cache=True)
def where(pending, n, at_cell, out):  # type: ignore[no-untyped-def]
    """Cell of every asker (after `ask` has settled them)."""
    for i in range(n):
        out[i] = at_cell[pending[i]]


@njit(cache=True)
def send(  # type: ignore[no-untyped-def]
    pending,
    n,
    give,
    fails,
    stop_ms,
    message_b,
    backoff_ms,
    head,
    tail,
    at_cell,
    listed,
    run_next,
    run_service,
    run_bytes,
    book,
    buffered_b,
    delivered_b,
    air,
    tries,
    attempts,
    next_try_ms,
    seed,
    stream,
    cell_messages,
):
    """Carry out what the cells granted; cars whose store is empty leave the pending list.

    A failed attempt delivers nothing: its bytes are counted as sent again, and the car waits
    (back-off of the facts, spread by half to one and a half).
    """
    keep = 0
    for i in range(n):
        c = pending[i]
        cell = at_cell[c]
        left = give[i]
        if left > 0 and fails[i]:
            e = head[c]
            while e >= 0 and left > 0:
                part = min(left, run_bytes[e])
                air[cell, run_service[e], RESENT] += part
                left -= part
                e = run_next[e]
            u = draw(seed, stream, c, attempts[c])
            attempts[c] += 1
            next_try_ms[c] = stop_ms + np.int64(backoff_ms[tries[c]] * (0.5 + u))
            if tries[c] < len(backoff_ms) - 1:
                tries[c] += 1
        elif left > 0:
            tries[c] = 0
            delivered_b[c] += left
            buffered_b[c] -= left
            while left > 0:
                e = head[c]
                s = run_service[e]
                part = min(left, run_bytes[e])
                size = message_b[s]
                cell_messages[cell] += -(-run_bytes[e] // size) + (part - run_bytes[e]) // size
                run_bytes[e] -= part
                left -= part
                air[cell, s, DELIVERED] += part
                air[cell, s, HELD] -= part
                if run_bytes[e] == 0:
                    head[c] = run_next[e]
                    if head[c] < 0:
                        tail[c] = -1
                    run_next[e] = book[FREE]
                    book[FREE] = e
                    book[FREE_RUNS] += 1
        if buffered_b[c] > 0:
            pending[keep] = c
            keep += 1
        else:
            listed[c] = 0
    book[PENDING] = keep


@njit(cache=True)
def waiting(head, run_next, run_service, run_bytes, per_car, per_cell, at_cell):  # type: ignore[no-untyped-def]
    """Count what the chains really hold, per car and per cell and service (for the ledger)."""
    for c in range(len(head)):
        e = head[c]
        while e >= 0:
            per_car[c] += run_bytes[e]
            per_cell[at_cell[c], run_service[e]] += run_bytes[e]
            e = run_next[e]
