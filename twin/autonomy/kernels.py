"""Compiled engagement process: splits every traversal at the moments when assistance goes on or off."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from twin.chance import draw

# what the driver lets the car do: not on this trip, not on this stretch, about to press, engaged
NOT_THIS_TRIP, NOT_HERE, READY, ENGAGED = range(4)

# why assistance ended, in the order of the columns of `tally`
DOMAIN, RAMP, TOLL, WEATHER, SPEED, STOP, DRIVER, CUT_IN, SENSOR, ARRIVAL = range(10)
# columns of `tally`, one row per road class, model and level
DRIVEN_MM, ENGAGED_MM, POSSIBLE_MM, ENGAGED_MS, ENGAGEMENTS, LANE_CHANGES, HAND_CHANGES, FIRST_CAUSE = range(8)
FIELDS = FIRST_CAUSE + 10

# bits of `seen`: what the present trip has had
HAD_DOMAIN, HAD_USE = 1, 2

# state of one car
CAR = np.dtype(
    [
        ("wait_ms", "i8"),  # until the driver presses the button
        ("left_mm", "i8"),  # to the next take-over
        ("serial", "i8"),  # of the trip
        ("count", "i8"),  # draws of this trip so far
        ("group", "i8"),  # row of `tally` that it was in last
        ("lane_left_mm", "i8"),  # to the next lane change
        ("lanes", "i8"),  # lane changes drawn so far
        ("stop_left", "f8"),  # hazard that is left until a stop too long for the system
        ("max_mm_ms", "f8"),  # fastest speed at which its system holds it
        ("will", "u1"),
        ("inside", "u1"),
        ("at_mode", "u1"),
        ("bare", "u1"),  # 1: no destination set, or its map is too old
        ("seen", "u4"),
    ]
)

# one record per mode (row of LEVELS)
MODE = np.dtype(
    [
        ("mean_mm", "i8"),  # between take-overs
        ("here", "f8"),  # share of long stretches on which it is switched on
        ("delay_ms", "f8"),
        ("min_mm_ms", "f8"),
        ("max_mm_ms", "f8"),
        ("stop_per_ms", "f8"),  # rate of stops that are too long, while crawling
        ("resume_ms", "f8"),
        ("lane_mm", "f8"),  # between lane changes
        ("hands_off", "i8"),
        ("to_driver", "f8"),  # cumulative shares of the causes of a take-over
        ("to_cut_in", "f8"),
    ]
)

# one record per link
LINK = np.dtype([("mm", "i8"), ("group", "i4"), ("toll", "u1"), ("ramp", "u1"), ("lanes", "u2")])


@njit(cache=True, inline="always")
def exponential(u, mean):  # type: ignore[no-untyped-def]
    """Exponential variate with this mean from u in [0, 1)."""
    return -mean * math.log1p(-u)


@njit(cache=True)
def drive(  # type: ignore[no-untyped-def]
    first, last, car, link, enter_ms, exit_ms, driven_mm, engaged_mm,
    links, link_mode, link_fair, link_long, level, model, models,
    cars, modes, car_engaged_mm, car_engaged_ms, car_domain_mm, tally, trips, crawl_mm_ms,
    seed, stream_segment, stream_length, stream_cause, stream_lane, stream_stop,
):  # fmt: skip
    """Rows first:last of a traversal buffer, in time order; equal speed within a row.

    link_mode, link_long (2, levels, links): mode and long enough, by `bare` and level, in the
    weather of now; link_fair (levels, links): mode in fair weather. `trips` counts trips that
    met the domain and trips with use. Random numbers are keyed by car and by trip serial with a
    counter inside the trip, so other cars and the tick's length change nothing. Returns the
    millimetres that were engaged outside the domain or beyond what was driven (0).
    """
    levels = link_mode.shape[1]
    breach = np.int64(0)
    for i in range(first, last):
        c = car[i]
        k = link[i]
        driven = driven_mm[i]
        lev = level[c]
        road = links[k]
        group = (np.int64(road.group) * models + model[c]) * levels + lev
        tally[group, DRIVEN_MM] += driven
        engaged_mm[i] = 0
        if lev == 0:
            continue
        own = cars[c]
        own.group = group
        if link_mode[0, lev, k] > 0:
            car_domain_mm[c] += driven
            tally[group, POSSIBLE_MM] += driven
            if own.seen & HAD_DOMAIN == 0:
                own.seen |= HAD_DOMAIN
                trips[0] += 1
        if own.will == NOT_THIS_TRIP:
            continue
        mode = link_mode[own.bare, lev, k]
        if mode == 0 or not link_long[own.bare, lev, k]:
            if own.will == ENGAGED:
                cause = DOMAIN
                if link_fair[lev, k] > 0 and link_mode[0, lev, k] == 0:
                    cause = WEATHER
                elif road.ramp:
                    cause = RAMP
                tally[group, FIRST_CAUSE + cause] += 1
            own.will = NOT_HERE
            own.inside = 0
            continue
        rule = modes[mode]
        key = own.serial << 13
        if own.inside == 0:
            # one decision per unbroken stretch of domain
            own.inside = 1
            own.count += 1
            tick = key | ((own.count & 2047) << 2)
            if draw(seed, stream_segment, c, tick) < rule.here:
                own.will = READY
                own.wait_ms = np.int64(exponential(draw(seed, stream_segment, c, tick | 1), rule.delay_ms))
            else:
                own.will = NOT_HERE
        if own.will == NOT_HERE:
            continue
        length = max(road.mm, driven)
        took = exit_ms[i] - enter_ms[i]
        if length > min(rule.max_mm_ms, own.max_mm_ms) * took or length < rule.min_mm_ms * took:
            # outside the speeds at which the system holds it: the driver has the car on this link
            if own.will == ENGAGED:
                tally[group, FIRST_CAUSE + SPEED] += 1
                own.will = READY
                own.wait_ms = 0
            continue
        if own.will == ENGAGED and own.at_mode != mode:
            # no memory: what is left of the distance to the next take-over stretches with its mean
            was = modes[own.at_mode]
            own.left_mm = max(1, own.left_mm * rule.mean_mm // was.mean_mm)
            if was.hands_off != rule.hands_off:
                tally[group, HAND_CHANGES] += 1
        own.at_mode = mode
        end_ms = took * driven // length
        crawls = length < crawl_mm_ms * took and rule.stop_per_ms > 0.0
        at_mm = np.int64(0)
        at_ms = np.int64(0)
        with_mm = np.int64(0)
        with_ms = np.int64(0)
        while at_mm < driven:
            if own.will == READY:
                if own.wait_ms >= end_ms - at_ms:
                    own.wait_ms -= end_ms - at_ms
                    break
                at_ms += own.wait_ms
                own.wait_ms = 0
                at_mm = max(at_mm, length * at_ms // took)
                if at_mm >= driven:
                    break
                own.count += 1
                tick = key | ((own.count & 2047) << 2)
                own.left_mm = 1 + np.int64(exponential(draw(seed, stream_length, c, tick), rule.mean_mm))
                own.stop_left = exponential(draw(seed, stream_stop, c, tick), 1.0)
                own.will = ENGAGED
                tally[group, ENGAGEMENTS] += 1
                if own.seen & HAD_USE == 0:
                    own.seen |= HAD_USE
                    trips[1] += 1
            part = min(own.left_mm, driven - at_mm)
            stopped = False
            if crawls:
                per_mm = rule.stop_per_ms * took / length
                if own.stop_left < per_mm * part:
                    part = min(part, max(np.int64(1), np.int64(own.stop_left / per_mm)))
                    stopped = True
                own.stop_left -= per_mm * part
            at_mm += part
            then = took * at_mm // length
            with_mm += part
            with_ms += then - at_ms
            at_ms = then
            own.left_mm -= part
            tick = key | ((own.count & 2047) << 2)
            if own.left_mm == 0:
                u = draw(seed, stream_cause, c, tick)
                cause = DRIVER if u < rule.to_driver else CUT_IN if u < rule.to_cut_in else SENSOR
                tally[group, FIRST_CAUSE + cause] += 1
                own.will = READY
                own.wait_ms = np.int64(exponential(draw(seed, stream_segment, c, tick | 2), rule.delay_ms))
            elif stopped:
                tally[group, FIRST_CAUSE + STOP] += 1
                own.will = READY
                own.wait_ms = np.int64(exponential(draw(seed, stream_segment, c, tick | 3), rule.resume_ms))
        engaged_mm[i] = with_mm
        car_engaged_mm[c] += with_mm
        car_engaged_ms[c] += with_ms
        tally[group, ENGAGED_MM] += with_mm
        tally[group, ENGAGED_MS] += with_ms
        if with_mm > driven:
            breach += with_mm - driven
        if link_mode[0, lev, k] == 0:
            breach += with_mm
        if road.lanes >= 2:
            own.lane_left_mm -= with_mm
            while own.lane_left_mm <= 0:
                if own.lanes > 0:
                    tally[group, LANE_CHANGES] += 1
                    if rule.hands_off:
                        tally[group, HAND_CHANGES] += 2
                own.lanes += 1
                own.lane_left_mm += 1 + np.int64(exponential(draw(seed, stream_lane, c, own.lanes), rule.lane_mm))
        if road.toll:
            # ProPILOT does not react to a toll plaza: the driver takes over before it
            if own.will == ENGAGED:
                tally[group, FIRST_CAUSE + TOLL] += 1
            own.will = NOT_HERE
            own.inside = 0
    return breach
