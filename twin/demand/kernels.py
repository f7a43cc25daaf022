"""Compiled parts of demand: lay out a day, choose where, set the clock. Arrays and scalars only."""

import numpy as np
from numba import njit

from twin.chance import Stream, draw

MAX_LEGS = 16
MAX_TOURS = 5
SLOTS = 1024  # draws of one car and day: tick = day * SLOTS + slot

HOME, WORK, SHOP, LEISURE, ERRAND, BUSINESS = range(6)
COMMUTER, ERRANDS, LEISURES = range(3)

# numbers of lay_out
SECOND_TOUR, EXTRA_TOUR, EXTRA_STOP, FROM_WORK, BEFORE_WORK, SIGMA, STAY_SIGMA = range(7)
STAY_MOST_MS, DROP_OFF_MS, WORK_MS, WORK_SD_MS, LEISURE_CAR_KM, SHOP_UP_TO, LEISURE_UP_TO = range(7, 14)
ODD_SHARE, ODD_WORK_MS = range(14, 16)
N_NUMBERS = 16

_TOUR = int(Stream.TOUR)
_DISTANCE = int(Stream.DISTANCE)
_DWELL = int(Stream.DWELL)
_DESTINATION = int(Stream.DESTINATION)
_DEPART = int(Stream.DEPART)

ODD_HOURS = -1  # draw of a car, the same every day
HOUR_MS = 3_600_000
DAY_STARTS_MS = 3 * HOUR_MS  # a day of habits runs from 3 to 27 o'clock: few drive at three
DAY_ENDS_MS = 27 * HOUR_MS
MINUTE_MS = 60_000


@njit(cache=True)
def path_length(order, before, ptr, head, length_m, out):  # type: ignore[no-untyped-def]
    """Metres along a tree of fastest paths; `order` lists nodes from near to far, roots have `before` < 0."""
    for k in range(len(order)):
        node = order[k]
        p = before[node]
        if p < 0:
            out[node] = 0.0
            continue
        for link in range(ptr[p], ptr[p + 1]):
            if head[link] == node:
                out[node] = out[p] + length_m[link]
                break


@njit(cache=True)
def bell(seed, stream, row, tick):  # type: ignore[no-untyped-def]
    """One standard normal number from two draws (Box and Muller 1958)."""
    u = 1.0 - draw(seed, stream, row, tick)
    return np.sqrt(-2.0 * np.log(u)) * np.cos(2.0 * np.pi * draw(seed, stream, row, tick + 1))


@njit(cache=True)
def _purpose(u, number):  # type: ignore[no-untyped-def]
    if u < number[SHOP_UP_TO]:
        return SHOP
    return LEISURE if u < number[LEISURE_UP_TO] else ERRAND


@njit(cache=True)
def _stop(seed, car, tick, i, k, tour, purpose, at_work, median_km, stay_ms, number, out):  # type: ignore[no-untyped-def]
    """Write one stop with its wanted distance (from home, or from work) and stay."""
    purposes, anchors, want_m, stays, tours = out
    km = median_km[purpose]
    if purpose == LEISURE and number[LEISURE_CAR_KM] > 0.0:
        km = number[LEISURE_CAR_KM]
    purposes[i, k] = purpose
    anchors[i, k] = at_work
    tours[i, k] = tour
    want_m[i, k] = 1000.0 * km * np.exp(number[SIGMA] * bell(seed, _DISTANCE, car, tick + 2 * k))
    stay = stay_ms[purpose] * np.exp(number[STAY_SIGMA] * bell(seed, _DWELL, car, tick + 2 * k))
    stays[i, k] = np.int64(max(MINUTE_MS, min(stay, number[STAY_MOST_MS])))


@njit(cache=True)
def lay_out(
    seed, cars, days, kinds, works, median_km, stay_ms, numbers, purposes, anchors, want_m, stays, tours, n_legs
):  # type: ignore[no-untyped-def]
    """Tours and stops of each car and day: what for, from where, how far wanted, how long.

    cars, days, kinds (archetype), works (1 goes to work that day): int64[n]; numbers: float64[3, N_NUMBERS] by
    archetype. Writes purposes, anchors, stays, tours, want_m [n, MAX_LEGS] and n_legs[n]. The work tour is tour 0;
    every tour ends with a leg to home.
    """
    out = (purposes, anchors, want_m, stays, tours)
    for i in range(len(cars)):
        car, tick = cars[i], days[i] * SLOTS
        number = numbers[kinds[i]]
        extra = 0
        for b in range(2):
            if draw(seed, _TOUR, car, tick + b) < number[EXTRA_TOUR]:
                extra += 1
        base = 1
        if works[i] == 0 and draw(seed, _TOUR, car, tick + 2) < number[SECOND_TOUR]:
            base = 2
        excursion = 0
        if works[i] == 1 and extra > 0 and draw(seed, _TOUR, car, tick + 3) < number[FROM_WORK]:
            excursion, extra = 1, extra - 1
        n_tours = base + extra
        k = 0
        for tour in range(n_tours):
            stops = 0  # further stops of this tour
            for b in range(4):
                if draw(seed, _TOUR, car, tick + 8 + b) < number[EXTRA_STOP]:
                    where = int(draw(seed, _TOUR, car, tick + 16 + b) * n_tours)
                    if where == tour:
                        stops += 1
            if works[i] == 1 and tour == 0:
                if stops > 0 and draw(seed, _TOUR, car, tick + 4) < number[BEFORE_WORK]:
                    _stop(seed, car, tick, i, k, tour, ERRAND, 0, median_km, stay_ms, number, out)
                    stays[i, k] = np.int64(number[DROP_OFF_MS])
                    stops, k = stops - 1, k + 1
                hours_ms = number[WORK_MS]
                if draw(seed, _DEPART, car, ODD_HOURS) < number[ODD_SHARE]:
                    hours_ms = number[ODD_WORK_MS]
                worked = np.int64(hours_ms + number[WORK_SD_MS] * bell(seed, _DWELL, car, tick + 64))
                worked = max(worked, 2 * HOUR_MS)
                purposes[i, k], anchors[i, k], tours[i, k], want_m[i, k] = WORK, 0, tour, 0.0
                stays[i, k] = worked
                if excursion == 1:
                    before = np.int64(worked * (0.35 + 0.25 * draw(seed, _TOUR, car, tick + 5)))
                    stays[i, k] = before
                    _stop(seed, car, tick, i, k + 1, tour, BUSINESS, 1, median_km, stay_ms, number, out)
                    k += 2
                    purposes[i, k], anchors[i, k], tours[i, k], want_m[i, k] = WORK, 0, tour, 0.0
                    stays[i, k] = max(MINUTE_MS, worked - before - stays[i, k - 1])
                k += 1
            else:
                stops += 1
            for _ in range(stops):
                what = _purpose(draw(seed, _TOUR, car, tick + 32 + k), number)
                if kinds[i] == LEISURES:
                    what = LEISURE
                _stop(seed, car, tick, i, k, tour, what, 0, median_km, stay_ms, number, out)
                k += 1
            purposes[i, k], anchors[i, k], tours[i, k], want_m[i, k], stays[i, k] = HOME, 0, tour, 0.0, 0
            k += 1
        n_legs[i] = k


@njit(cache=True)
def curve(value, xs, ys):  # type: ignore[no-untyped-def]
    """Linear interpolation through knots from (0, 0); beyond the last knot in proportion."""
    last = len(xs) - 1
    if value >= xs[last]:
        return value * (ys[last] / xs[last])
    if value <= 0.0:
        return 0.0
    j = np.searchsorted(xs, value, side="right")
    return ys[j - 1] + (value - xs[j - 1]) * (ys[j] - ys[j - 1]) / (xs[j] - xs[j - 1])


@njit(cache=True)
def apart(a, b, lie):  # type: ignore[no-untyped-def]
    """Estimated metres inside and on approach roads between two nodes.

    lie: x, y (of the node or its gate), beyond_m, gate by node; crow_m and road_m of the distance curve.
    """
    x, y, beyond_m, gate, crow_m, road_m = lie
    if gate[a] >= 0 and gate[a] == gate[b]:
        return 0.0, abs(beyond_m[a] - beyond_m[b])
    crow = np.sqrt((x[a] - x[b]) ** 2 + (y[a] - y[b]) ** 2)
    return curve(crow, crow_m, road_m), beyond_m[a] + beyond_m[b]


@njit(cache=True)
def in_band(ax, ay, low, high, one, two, three, spots, cells, ptr, u):  # type: ignore[no-untyped-def]
    """Draw a spot at crow-fly distance low..high from (ax, ay) in proportion to weight; -1 when there is none.

    spots: float64[n, 4] x, y, weight, node; cells: float64[m, 3] x, y, radius; spots of cell c are ptr[c]:ptr[c+1].
    Nodes one, two and three are left out.
    """
    total = 0.0
    for turn in range(2):
        left = u * total
        chosen = -1
        for c in range(len(cells)):
            d = np.sqrt((cells[c, 0] - ax) ** 2 + (cells[c, 1] - ay) ** 2)
            if d - cells[c, 2] > high or d + cells[c, 2] < low:
                continue
            for s in range(ptr[c], ptr[c + 1]):
                d2 = (spots[s, 0] - ax) ** 2 + (spots[s, 1] - ay) ** 2
                if low * low <= d2 <= high * high:
                    node = int(spots[s, 3])
                    if node in (one, two, three) or spots[s, 2] <= 0.0:
                        continue
                    if turn == 0:
                        total += spots[s, 2]
                    else:
                        chosen = node
                        left -= spots[s, 2]
                        if left < 0.0:
                            return chosen
        if turn == 0 and total <= 0.0:
            return -1
    return chosen


@njit(cache=True)
def nearest_to(ax, ay, crow, one, two, three, spots):  # type: ignore[no-untyped-def]
    """Spot whose crow-fly distance from (ax, ay) is nearest to `crow`; -1 when all are left out."""
    best, found = np.inf, -1
    for s in range(len(spots)):
        node = int(spots[s, 3])
        if node in (one, two, three):
            continue
        miss = abs(np.sqrt((spots[s, 0] - ax) ** 2 + (spots[s, 1] - ay) ** 2) - crow)
        if miss < best:
            best, found = miss, node
    return found


@njit(cache=True)
def along(anchor, want, u_way, u_ring, beyond_m, row):  # type: ignore[no-untyped-def]
    """Node of one approach road (row: its nodes, ascending) about `want` metres up or down the road; and the metres.

    Between two nodes it is drawn so that the mean distance is `want`. (-1, -1) when the road has no other node.
    """
    at, first, last = beyond_m[anchor], beyond_m[row[0]], beyond_m[row[-1]]
    up, down = at + want <= last, at - want >= first
    if up == down:  # both ways, or neither: then to the farther end
        up = u_way < 0.5 if up else last - at >= at - first
    target = min(at + want, last) if up else max(at - want, first)
    below, above = -1, -1
    for j in range(len(row)):
        if row[j] == anchor:
            continue
        metres = beyond_m[row[j]]
        if (up and metres <= at) or (not up and metres >= at):
            continue
        if metres <= target:
            below = row[j]
        elif above < 0:
            above = row[j]
    node = below if above < 0 else above
    if below >= 0 and above >= 0:
        step = beyond_m[above] - beyond_m[below]
        node = above if u_ring * step < target - beyond_m[below] else below
    return node, (abs(beyond_m[node] - at) if node >= 0 else -1.0)


@njit(cache=True)
def outside_at(anchor, want, u_gate, u_ring, lie, beyond):  # type: ignore[no-untyped-def]
    """Outside node at a road distance near `want` from the anchor, behind a gate drawn by weight.

    Between the rings on either side it is drawn so that the mean distance is `want`. Rings of a gate ascend.
    Returns (node, metres). beyond: cumulative weight of gates, and rows of their nodes.
    """
    gate_cum, ring_ptr, ring_node = beyond
    beyond_m, gate = lie[2], lie[3]
    if gate[anchor] >= 0 and want <= beyond_m[anchor]:
        # lives on an approach road and does not come as far as the gate: stays on that road
        own = gate[anchor]
        return along(anchor, want, u_gate, u_ring, beyond_m, ring_node[ring_ptr[own] : ring_ptr[own + 1]])
    g = np.searchsorted(gate_cum, u_gate * gate_cum[-1], side="right")
    below, below_m = -1, -1.0
    for j in range(ring_ptr[g], ring_ptr[g + 1]):
        node = ring_node[j]
        if node == anchor:
            continue
        near, far = apart(anchor, node, lie)
        metres = near + far
        if metres >= want:
            if below >= 0 and below_m <= want and u_ring >= (want - below_m) / max(metres - below_m, 1.0):
                return below, below_m
            return node, metres
        if metres > below_m:
            below, below_m = node, metres
    return below, below_m


@njit(cache=True)
def choose(
    seed,
    cars,
    days,
    homes,
    workplaces,
    purposes,
    anchors,
    want_m,
    n_legs,
    lie,
    places,
    beyond,
    outside_share,
    longer_m,
    inside_mps,
    outside_mps,
    nodes,
    inside_m,
    outside_m,
    travel_ms,
):  # type: ignore[no-untyped-def]
    """Destination node, estimated metres and travel time of every leg; returns how many stops missed by half.

    lie, beyond: see apart, outside_at; places: group of each purpose, first cells and spots of groups, see in_band.
    """
    x, y, beyond_m, _, crow_m, road_m = lie
    group_of, group_cell, group_spot, spots, cells, ptr = places
    missed = 0
    n_rings = len(beyond[2])
    for i in range(len(cars)):
        car, tick = cars[i], days[i] * SLOTS
        prev = homes[i]
        for k in range(n_legs[i]):
            what = purposes[i, k]
            if what == HOME:
                node = homes[i]
            elif what == WORK:
                node = workplaces[i]
            else:
                anchor = workplaces[i] if anchors[i, k] == 1 else homes[i]
                three = workplaces[i] if purposes[i, k + 1] == WORK else prev
                want = want_m[i, k]
                g = group_of[what]
                part = spots[group_spot[g] : group_spot[g + 1]]
                u = draw(seed, _DESTINATION, car, tick + 4 * k)
                node, metres = -1, 0.0
                leave = n_rings > 0 and outside_share > 0.0
                if leave and want > longer_m and draw(seed, _DESTINATION, car, tick + 4 * k + 1) < outside_share:
                    node, metres = outside_at(
                        anchor, want, u, draw(seed, _DESTINATION, car, tick + 4 * k + 2), lie, beyond
                    )
                    if node >= 0 and (metres > 1.5 * want or metres < 0.5 * want or node == prev):
                        node = -1
                if node < 0:
                    for wider in range(2):
                        share, least = (0.1, 60.0) if wider == 0 else (0.25, 150.0)
                        slack = max(share * want, least)
                        low = curve(want - slack - beyond_m[anchor], road_m, crow_m)
                        high = curve(want + slack - beyond_m[anchor], road_m, crow_m)
                        if high <= 0.0:
                            break
                        node = in_band(
                            x[anchor],
                            y[anchor],
                            low,
                            high,
                            homes[i],
                            prev,
                            three,
                            part,
                            cells[group_cell[g] : group_cell[g + 1]],
                            ptr[group_cell[g] + g : group_cell[g + 1] + g + 1],
                            u,
                        )
                        if node >= 0:
                            break
                if node < 0:
                    # nothing at that distance: the nearest miss of a place on the map and a place beyond it
                    aim = curve(max(want - beyond_m[anchor], 0.0), road_m, crow_m)
                    node = nearest_to(x[anchor], y[anchor], aim, homes[i], prev, three, part)
                    miss = np.inf
                    if node >= 0:
                        near, far = apart(anchor, node, lie)
                        miss = abs(near + far - want)
                    if leave:
                        other, metres = outside_at(
                            anchor, want, u, draw(seed, _DESTINATION, car, tick + 4 * k + 3), lie, beyond
                        )
                        # drawing between two rings is no miss: only short and far ends count
                        if (
                            other >= 0
                            and other != prev
                            and other != homes[i]
                            and (
                                abs(metres - want) < miss
                                or (want > longer_m and metres > 0.5 * want and metres < 2.0 * want)
                            )
                        ):
                            node, miss = other, abs(metres - want)
                    if miss > 0.5 * want:
                        missed += 1
                    if node < 0:
                        node = prev
            near, far = apart(prev, node, lie)
            nodes[i, k] = node
            inside_m[i, k] = near
            outside_m[i, k] = far
            travel_ms[i, k] = np.int64(np.rint(1000.0 * (near / inside_mps + far / outside_mps)))
            prev = node
    return missed


@njit(cache=True)
def set_clock(
    seed,
    cars,
    days,
    homes,
    kinds,
    works,
    stays,
    tours,
    nodes,
    travel_ms,
    n_legs,
    cum,
    depart_mean_ms,
    depart_sd_ms,
    odd_share,
    odd_cum,
    gap_ms,
    gap_sigma,
    depart_ms,
    bins,
):  # type: ignore[no-untyped-def]
    """Departure of every leg, ms since midnight of the day (3 h to 27 h); -1 for legs that do not happen.

    A leg does not happen when it leads nowhere new, or when its tour finds no room in the day. The work tour starts
    about depart_mean_ms, that of a share odd_share of cars at odd hours (odd_cum, cumulative over bins of the day);
    others are drawn from `cum` (cumulative over equal bins of the day) and wait for the car.
    """
    n_bins = len(cum)
    width = (DAY_ENDS_MS - DAY_STARTS_MS) / n_bins
    first = np.zeros(MAX_TOURS + 1, np.int64)
    length = np.zeros(MAX_TOURS, np.int64)
    start = np.zeros(MAX_TOURS, np.int64)
    chosen = np.zeros(MAX_TOURS, np.int64)
    order = np.zeros(MAX_TOURS, np.int64)
    for i in range(len(cars)):
        car, tick = cars[i], days[i] * SLOTS
        n_tours = 0
        for k in range(n_legs[i]):
            depart_ms[i, k] = -1
            bins[i, k] = -1
            if k == 0 or tours[i, k] != tours[i, k - 1]:
                first[n_tours] = k
                n_tours += 1
        first[n_tours] = n_legs[i]
        for t in range(n_tours):
            total = 0
            for k in range(first[t], first[t + 1]):
                total += travel_ms[i, k] + stays[i, k]
            length[t] = total
            order[t] = t
            chosen[t] = -1
            if works[i] == 1 and t == 0 and draw(seed, _DEPART, car, ODD_HOURS) < odd_share:
                b = np.searchsorted(odd_cum, draw(seed, _DEPART, car, tick + 2 * t) * odd_cum[-1], side="right")
                b = min(b, len(odd_cum) - 1)
                at = (b + draw(seed, _DEPART, car, tick + 2 * t + 1)) * (DAY_ENDS_MS - DAY_STARTS_MS) / len(odd_cum)
                start[t] = np.int64(DAY_STARTS_MS + at)
            elif works[i] == 1 and t == 0:
                z = 9.0
                turn = 0
                while abs(z) > 2.5 and turn < 16:
                    z = bell(seed, _DEPART, car, tick + 32 + 2 * turn)
                    turn += 1
                start[t] = np.int64(depart_mean_ms + depart_sd_ms * min(max(z, -2.5), 2.5))
            else:
                b = min(
                    np.searchsorted(cum, draw(seed, _DEPART, car, tick + 2 * t) * cum[-1], side="right"), n_bins - 1
                )
                chosen[t] = b
                start[t] = np.int64(DAY_STARTS_MS + (b + draw(seed, _DEPART, car, tick + 2 * t + 1)) * width)
        low = 1 if works[i] == 1 else 0
        for a in range(low + 1, n_tours):  # few tours: insertion sort by drawn start, work stays in front
            v = order[a]
            j = a - 1
            while j >= low and start[order[j]] > start[v]:
                order[j + 1] = order[j]
                j -= 1
            order[j + 1] = v
        work_start, work_end = np.int64(DAY_ENDS_MS), np.int64(DAY_STARTS_MS)
        if works[i] == 1:
            late = start[0] + length[0] - DAY_ENDS_MS
            if late > 0:
                start[0] = max(start[0] - late, DAY_STARTS_MS)
            work_start, work_end = start[0], start[0] + length[0]
        free = np.int64(DAY_STARTS_MS)
        for a in range(n_tours):
            t = order[a]
            at = start[t]
            if not (works[i] == 1 and t == 0):
                gap = np.int64(gap_ms * np.exp(gap_sigma * bell(seed, _DEPART, car, tick + 128 + 2 * t)))
                if free > DAY_STARTS_MS:
                    at = max(at, free + gap)
                if works[i] == 1 and at + length[t] + 10 * MINUTE_MS > work_start and free < work_end:
                    free = work_end
                    at = max(at, free + gap)
                if at + length[t] > DAY_ENDS_MS:
                    at = DAY_ENDS_MS - length[t]
                    if at < free + (5 * MINUTE_MS if free > DAY_STARTS_MS else 0):
                        continue
                free = at + length[t]
            elif at + length[t] > DAY_ENDS_MS:
                continue
            now = at
            prev = homes[i]
            for k in range(first[t], first[t + 1]):
                if nodes[i, k] != prev:
                    depart_ms[i, k] = now
                    bins[i, k] = chosen[t]
                now += travel_ms[i, k] + stays[i, k]
                prev = nodes[i, k]
