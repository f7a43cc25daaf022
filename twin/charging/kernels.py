"""Power and energy of plugged cars. Compiled; arrays and scalars only.

Every session has a limit on the battery's side that holds for the tick (socket, onboard charger, its part of the
site's cap) and the battery's own limit, piecewise linear between whole percents of charge. Between two knots the
power is p = a + b e, so the time to take in an energy is a logarithm: motion inside a tick is exact, not stepped.
"""

import math

import numpy as np
from numba import njit

GOES_ON, REACHED, LIMIT, TROUBLE = 0, 1, 2, 3
"""What `charge` reports for a session."""
EQUAL, IN_ORDER = 0, 1
"""Rules by which sites and feeders share what they may draw."""


@njit(cache=True)
def battery_power(meter_w, dc, overhead_w, conv, dc_eta):  # type: ignore[no-untyped-def]
    """Power that reaches the battery from `meter_w` (facts vehicles: physics.charge_efficiency)."""
    if dc:
        return meter_w * dc_eta
    return conv * meter_w * meter_w / (meter_w + overhead_w) if meter_w > 0.0 else 0.0


@njit(cache=True)
def meter_power(battery_w, dc, overhead_w, conv, dc_eta):  # type: ignore[no-untyped-def]
    """Inverse of `battery_power`."""
    if dc:
        return battery_w / dc_eta
    return (battery_w + math.sqrt(battery_w * battery_w + 4.0 * conv * overhead_w * battery_w)) / (2.0 * conv)


@njit(cache=True)
def curve_at(curve_w, energy_j, capacity_j):  # type: ignore[no-untyped-def]
    """Power the battery accepts at an energy content, linear between whole percents."""
    percent = 100.0 * energy_j / capacity_j
    i = min(max(int(percent), 0), 99)
    return curve_w[i] + (curve_w[i + 1] - curve_w[i]) * (percent - i)


@njit(cache=True)
def stretch(energy_j, target_j, seconds, limit_w, curve_w, capacity_j, dc, overhead_w, conv, dc_eta):  # type: ignore[no-untyped-def]
    """Charge one battery for up to `seconds` under a constant limit.

    Returns the energy content after, the energy metered, the time used and whether the target was reached. The meter
    follows from the mean battery power of each piece (a piece spans at most one percent of charge).
    """
    used = 0.0
    metered = 0.0
    step = capacity_j / 100.0
    if energy_j >= target_j:
        return energy_j, metered, used, True
    if limit_w <= 0.0:
        return energy_j, metered, seconds, False
    for _ in range(1000):
        i = min(int(energy_j / step), 99)
        end = (i + 1) * step
        if end - energy_j < 1e-9 * step and i < 99:
            i += 1
            end = (i + 1) * step
        end = min(end, target_j)
        p0 = curve_w[i] + (curve_w[i + 1] - curve_w[i]) * (energy_j / step - i)
        p1 = curve_w[i] + (curve_w[i + 1] - curve_w[i]) * (end / step - i)
        above0 = p0 >= limit_w * (1.0 - 1e-12)
        above1 = p1 >= limit_w * (1.0 - 1e-12)
        flat = above0 and above1
        if above0 != above1:  # the curve crosses the limit inside the piece: take the part before the crossing
            cross = energy_j + (end - energy_j) * (limit_w - p0) / (p1 - p0)
            if cross - energy_j > 1e-6:
                end = min(cross, end)
                flat = above0
                p1 = limit_w
            else:
                flat = above1
                p0 = limit_w
        gain = end - energy_j
        b = 0.0
        if flat:
            time = gain / limit_w
        elif abs(p1 - p0) < 1e-9 * p0:
            time = gain / p0
        else:
            b = (p1 - p0) / gain
            time = math.log(p1 / p0) / b
        finished = used + time <= seconds
        if not finished:
            time = seconds - used
            if flat:
                gain = limit_w * time
            elif b == 0.0:
                gain = p0 * time
            else:
                gain = p0 * math.expm1(b * time) / b
        if time > 0.0:
            metered += meter_power(gain / time, dc, overhead_w, conv, dc_eta) * time
        used += time
        if not finished:
            return energy_j + gain, metered, seconds, False
        energy_j = end
        if energy_j >= target_j:
            return target_j, metered, used, True
    return energy_j, metered, used, False


@njit(cache=True)
def at_full_power(  # type: ignore[no-untyped-def]
    model, dc, socket_w, energy_j, target_j, capacity_j, from_ms, until_ms, warm_curve_w, accepted, day_start_ms,
    overhead_w, conv, dc_eta,
):  # fmt: skip
    """Energy content that each car would hold at `until_ms`, charged at full power since `from_ms`, J.

    `accepted`, shape (24, n_models), is the share of `warm_curve_w` that batteries accept in each hour of the day.
    """
    out = np.empty(len(model), np.int64)
    for i in range(len(model)):
        m = model[i]
        limit_w = battery_power(socket_w[i], False, overhead_w, conv, dc_eta) if not dc[i] else socket_w[i]
        held = float(energy_j[i])
        now = from_ms[i]
        while now < until_ms[i] and held < target_j[i]:
            hour = (now + day_start_ms) // 3_600_000
            end = min((hour + 1) * 3_600_000 - day_start_ms, until_ms[i])
            held, _, _, _ = stretch(
                held, float(target_j[i]), (end - now) * 1e-3, limit_w, warm_curve_w[m] * accepted[hour % 24, m],
                float(capacity_j[i]), dc[i], overhead_w, conv, dc_eta,
            )  # fmt: skip
            now = end
        out[i] = int(held)
    return out


@njit(cache=True)
def give(  # type: ignore[no-untyped-def]
    row, until_ms, car, site, grant_w, floor_j, from_ms, energy_j, meter_j, loss_j, given_j, battery_j, charged_j,
    car_meter_j, interval_j, first_interval, interval_ms, give_eta,
):  # fmt: skip
    """Give energy back from `from_ms[row]` to `until_ms` at the power `-grant_w[row]` at the meter, down to the floor.

    The battery loses the energy at the meter over `give_eta`; the difference is loss. Whole joules, the same on all
    sides; what is less than a joule is not given.
    """
    c = car[row]
    while from_ms[row] < until_ms:
        k = from_ms[row] // interval_ms
        stop_at = min(until_ms, (k + 1) * interval_ms)
        wish = int(-grant_w[row] * (stop_at - from_ms[row]) * 1e-3 / give_eta)
        taken = max(min(wish, battery_j[c] - floor_j[row]), 0)
        out = int(taken * give_eta)
        battery_j[c] -= taken
        charged_j[c] -= taken
        car_meter_j[c] -= out
        energy_j[row] -= taken
        meter_j[row] -= out
        loss_j[row] += taken - out
        given_j[row] += out
        interval_j[k - first_interval, site[row]] -= out
        from_ms[row] = stop_at
    return GOES_ON


@njit(cache=True)
def charge(  # type: ignore[no-untyped-def]
    row, until_ms, car, site, dc, grant_w, target_j, floor_j, stop_ms, from_ms, energy_j, meter_j, loss_j, given_j,
    part_j, meter_part_j, model, capacity_j, battery_j, charged_j, car_meter_j, curve_w, interval_j, first_interval,
    interval_ms, overhead_w, conv, dc_eta, give_eta,
):  # fmt: skip
    """Advance one session from `from_ms[row]` to `until_ms`, its target or its time limit, whichever is first.

    All amounts are whole joules; the fraction of a joule is carried in `part_j`. The same integers go to the car, the
    session and the (interval, site) load. `from_ms[row]` is left at the moment it stopped. A negative grant gives
    energy back (see `give`).
    """
    if grant_w[row] < 0.0:
        return give(
            row, until_ms, car, site, grant_w, floor_j, from_ms, energy_j, meter_j, loss_j, given_j, battery_j,
            charged_j, car_meter_j, interval_j, first_interval, interval_ms, give_eta,
        )  # fmt: skip
    c = car[row]
    end_ms = until_ms
    if stop_ms[row] >= 0:
        end_ms = min(end_ms, stop_ms[row])
    limit_w = battery_power(grant_w[row], dc[row], overhead_w, conv, dc_eta)
    while from_ms[row] < end_ms:
        k = from_ms[row] // interval_ms
        stop_at = min(end_ms, (k + 1) * interval_ms)
        seconds = (stop_at - from_ms[row]) * 1e-3
        before = battery_j[c]
        after, metered, used, reached = stretch(
            before + part_j[row], float(target_j[row]), seconds, limit_w, curve_w[model[c]], float(capacity_j[c]),
            dc[row], overhead_w, conv, dc_eta,
        )  # fmt: skip
        if not math.isfinite(after) or not math.isfinite(metered):
            return TROUBLE
        if reached:
            gain = max(target_j[row] - before, 0)
            part_j[row] = 0.0
            from_ms[row] = min(from_ms[row] + int(math.ceil(used * 1000.0 - 1e-6)), stop_at)
        else:
            gain = int(math.floor(after)) - before
            part_j[row] = after - math.floor(after)
            from_ms[row] = stop_at
        metered += meter_part_j[row]
        drawn = int(math.floor(metered))
        meter_part_j[row] = metered - drawn
        battery_j[c] += gain
        charged_j[c] += gain
        car_meter_j[c] += drawn
        energy_j[row] += gain
        meter_j[row] += drawn
        loss_j[row] += drawn - gain
        interval_j[k - first_interval, site[row]] += drawn
        if reached:
            return REACHED
    if stop_ms[row] >= 0 and from_ms[row] >= stop_ms[row]:
        return LIMIT
    return GOES_ON


@njit(cache=True)
def wanted(row, seconds, car, dc, socket_w, fraction, model, capacity_j, battery_j, curve_w, overhead_w, conv, dc_eta):  # type: ignore[no-untyped-def]
    """Highest power at the meter that a session could draw in the next `seconds`, W.

    The battery may accept more as it fills (the rising part of a fast-charge curve), so the whole range it can pass
    through is looked at: granting this much to everybody can never exceed a cap inside the tick.
    """
    if fraction[row] < 0.0:
        return socket_w[row] * fraction[row]
    c = car[row]
    limit_w = socket_w[row] * fraction[row]
    if limit_w <= 0.0:
        return 0.0
    if not dc[row]:
        limit_w = battery_power(limit_w, False, overhead_w, conv, dc_eta)
    curve = curve_w[model[c]]
    low = float(battery_j[c])
    high = min(low + limit_w * seconds, float(capacity_j[c]))
    accepted = max(curve_at(curve, low, capacity_j[c]), curve_at(curve, high, capacity_j[c]))
    for i in range(int(100.0 * low / capacity_j[c]) + 1, int(100.0 * high / capacity_j[c]) + 1):
        accepted = max(accepted, curve[min(i, 100)])
    return meter_power(min(limit_w, accepted), dc[row], overhead_w, conv, dc_eta)


@njit(cache=True)
def share(rows, site, want_w, cap_w, grant_w, left_w):  # type: ignore[no-untyped-def]
    """Share each place's cap equally: everybody gets the smaller of the wish and the place's level (water-filling).

    A place is a site or a feeder; `site[row]` says which. Who gives energy back (a negative wish) takes no part. The
    level is the one at which the grants add up to the cap; who wishes for less than the level leaves the rest to the
    others. Writes `grant_w[row]` and what each place has left, `left_w`.
    """
    n_sites = len(cap_w)
    asked = np.zeros(n_sites)
    count = np.zeros(n_sites)
    for r in rows:
        if want_w[r] > 0.0:
            asked[site[r]] += want_w[r]
            count[site[r]] += 1.0
    level = np.full(n_sites, np.inf)
    again = False
    for s in range(n_sites):
        if asked[s] > cap_w[s]:
            level[s] = cap_w[s] / count[s]
            again = True
    while again:
        again = False
        small = np.zeros(n_sites)
        big = np.zeros(n_sites)
        for r in rows:
            s = site[r]
            if level[s] < np.inf and want_w[r] > 0.0:
                if want_w[r] <= level[s]:
                    small[s] += want_w[r]
                else:
                    big[s] += 1.0
        for s in range(n_sites):
            if level[s] < np.inf and big[s] > 0.0:
                higher = (cap_w[s] - small[s]) / big[s]
                if higher > level[s] * (1.0 + 1e-12):
                    level[s] = higher
                    again = True
    for s in range(n_sites):
        left_w[s] = cap_w[s]
    for r in rows:
        grant_w[r] = min(want_w[r], level[site[r]])
        left_w[site[r]] = max(left_w[site[r]] - max(grant_w[r], 0.0), 0.0)


@njit(cache=True)
def share_in_order(rows, order, site, want_w, cap_w, feeder_of, feeder_cap_w, grant_w, left_w, feeder_left_w):  # type: ignore[no-untyped-def]
    """Serve `rows[order]` one after the other: each gets its wish, or what its site and its feeder have left."""
    left_w[:] = cap_w
    feeder_left_w[:] = feeder_cap_w
    for i in order:
        r = rows[i]
        s = site[r]
        f = feeder_of[s]
        grant_w[r] = want_w[r] if want_w[r] < 0.0 else min(want_w[r], min(left_w[s], feeder_left_w[f]))
        left_w[s] = max(left_w[s] - max(grant_w[r], 0.0), 0.0)
        feeder_left_w[f] = max(feeder_left_w[f] - max(grant_w[r], 0.0), 0.0)


@njit(cache=True)
def share_equally(rows, site, want_w, cap_w, feeder_of, feeder_cap_w, grant_w, left_w, feeder_left_w):  # type: ignore[no-untyped-def]
    """Share the caps of sites, then those of feeders, equally."""
    share(rows, site, want_w, cap_w, grant_w, left_w)
    tight = False
    for f in range(len(feeder_cap_w)):
        feeder_left_w[f] = feeder_cap_w[f]
        tight = tight or feeder_cap_w[f] < np.inf
    if not tight:
        return
    wish = np.empty(len(rows))
    place = np.empty(len(rows), np.int64)
    got = np.empty(len(rows))
    for i in range(len(rows)):
        wish[i] = grant_w[rows[i]]
        place[i] = feeder_of[site[rows[i]]]
    share(np.arange(len(rows)), place, wish, feeder_cap_w, got, feeder_left_w)
    for i in range(len(rows)):
        grant_w[rows[i]] = got[i]
        left_w[site[rows[i]]] += max(wish[i], 0.0) - max(got[i], 0.0)


@njit(cache=True)
def flow(  # type: ignore[no-untyped-def]
    rows, t0_ms, t1_ms, cap_w, left_w, feeder_of, feeder_cap_w, feeder_left_w, rule, rank, want_w, socket_w, fraction,
    status,
    car, site, dc, grant_w, target_j, floor_j, stop_ms, from_ms, energy_j, meter_j, loss_j, given_j, part_j,
    meter_part_j, model, capacity_j, battery_j, charged_j, car_meter_j, curve_w, interval_j, first_interval,
    interval_ms, overhead_w, conv, dc_eta, give_eta,
):  # fmt: skip
    """Share the caps for the tick [t0, t1), then advance every session in `rows`; `status[i]` says how each ended.

    `rule` is EQUAL, or IN_ORDER of the least `rank[i]`, rows with equal rank in the order of `rows`.
    """
    seconds = (t1_ms - t0_ms) * 1e-3
    for r in rows:
        want_w[r] = wanted(
            r, seconds, car, dc, socket_w, fraction, model, capacity_j, battery_j, curve_w, overhead_w, conv, dc_eta
        )
    if rule == EQUAL:
        share_equally(rows, site, want_w, cap_w, feeder_of, feeder_cap_w, grant_w, left_w, feeder_left_w)
    else:
        order = np.argsort(rank, kind="mergesort")
        share_in_order(rows, order, site, want_w, cap_w, feeder_of, feeder_cap_w, grant_w, left_w, feeder_left_w)
    for i in range(len(rows)):
        status[i] = charge(
            rows[i], t1_ms, car, site, dc, grant_w, target_j, floor_j, stop_ms, from_ms, energy_j, meter_j, loss_j,
            given_j, part_j, meter_part_j, model, capacity_j, battery_j, charged_j, car_meter_j, curve_w, interval_j,
            first_interval, interval_ms, overhead_w, conv, dc_eta, give_eta,
        )  # fmt: skip


@njit(cache=True)
def begin(  # type: ignore[no-untyped-def]
    row, until_ms, left_w, feeder_of, feeder_left_w, want_w, socket_w, fraction,
    car, site, dc, grant_w, target_j, floor_j, stop_ms, from_ms, energy_j, meter_j, loss_j, given_j, part_j,
    meter_part_j, model, capacity_j, battery_j, charged_j, car_meter_j, curve_w, interval_j, first_interval,
    interval_ms, overhead_w, conv, dc_eta, give_eta,
):  # fmt: skip
    """First current inside a tick: take what the site has left of its cap, advance to `until_ms`, return the status."""
    s = site[row]
    seconds = max(until_ms - from_ms[row], 0) * 1e-3
    want_w[row] = wanted(
        row, seconds, car, dc, socket_w, fraction, model, capacity_j, battery_j, curve_w, overhead_w, conv, dc_eta
    )
    f = feeder_of[s]
    grant_w[row] = want_w[row] if want_w[row] < 0.0 else min(want_w[row], min(left_w[s], feeder_left_w[f]))
    left_w[s] -= max(grant_w[row], 0.0)
    feeder_left_w[f] -= max(grant_w[row], 0.0)
    return charge(
        row, until_ms, car, site, dc, grant_w, target_j, floor_j, stop_ms, from_ms, energy_j, meter_j, loss_j, given_j,
        part_j, meter_part_j, model, capacity_j, battery_j, charged_j, car_meter_j, curve_w, interval_j, first_interval,
        interval_ms, overhead_w, conv, dc_eta, give_eta,
    )  # fmt: skip
