"""Compiled engagement process: splits every traversal at the moments when assistance goes on or off."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from twin.chance import draw

# what the driver lets the car do: not on this trip, hands off the button for this stretch, about to press, engaged
NOT_THIS_TRIP, NOT_HERE, READY, ENGAGED = range(4)

# columns of `tally`, one row per road class, model and level
FIELDS = 10
DRIVEN_MM, ENGAGED_MM, POSSIBLE_MM, ENGAGEMENTS = range(4)
BY_DOMAIN, BY_DRIVER, BY_CUT_IN, BY_LANE, BY_SPEED, BY_ARRIVAL = range(4, FIELDS)


@njit(cache=True, inline="always")
def exponential(u, mean):  # type: ignore[no-untyped-def]
    """Exponential variate with this mean from u in [0, 1)."""
    return -mean * math.log1p(-u)


@njit(cache=True)
def drive(  # type: ignore[no-untyped-def]
    first,
    last,
    car,
    link,
    enter_ms,
    exit_ms,
    driven_mm,
    engaged_mm,
    link_mm,
    link_group,
    link_mode,
    link_long,
    link_toll,
    level,
    model,
    models,
    will,
    inside,
    wait_ms,
    left_mm,
    at_mode,
    serial,
    count,
    last_group,
    car_engaged_mm,
    car_engaged_ms,
    car_domain_mm,
    mode_mean_mm,
    mode_here,
    mode_delay_ms,
    mode_max_mm_ms,
    mode_cause,
    tally,
    seed,
    stream_segment,
    stream_length,
    stream_cause,
):
    """Rows first:last of a traversal buffer, in time order; equal speed within a row.

    `will` and the arrays up to `last_group` are the state of each car. Random numbers are
    keyed by car and by trip serial with a counter inside the trip, so other cars and the
    tick's length change nothing.
    """
    levels = link_mode.shape[0]
    for i in range(first, last):
        c = car[i]
        k = link[i]
        driven = driven_mm[i]
        lev = level[c]
        group = (link_group[k] * models + model[c]) * levels + lev
        tally[group, DRIVEN_MM] += driven
        engaged_mm[i] = 0
        if lev == 0:
            continue
        last_group[c] = group
        mode = link_mode[lev, k]
        if mode > 0:
            car_domain_mm[c] += driven
            tally[group, POSSIBLE_MM] += driven
        if will[c] == NOT_THIS_TRIP:
            continue
        if mode == 0 or not link_long[lev, k]:
            if will[c] == ENGAGED:
                tally[group, BY_DOMAIN] += 1
            will[c] = NOT_HERE
            inside[c] = 0
            continue
        key = serial[c] << 13
        if inside[c] == 0:
            # one decision per unbroken stretch of domain
            inside[c] = 1
            count[c] += 1
            tick = key | ((count[c] & 2047) << 2)
            if draw(seed, stream_segment, c, tick) < mode_here[mode]:
                will[c] = READY
                wait_ms[c] = np.int64(exponential(draw(seed, stream_segment, c, tick | 1), mode_delay_ms[mode]))
            else:
                will[c] = NOT_HERE
        if will[c] == NOT_HERE:
            continue
        length = max(link_mm[k], driven)
        took = exit_ms[i] - enter_ms[i]
        if length > mode_max_mm_ms[mode] * took:
            # faster than the system holds: the driver has the car on this link
            if will[c] == ENGAGED:
                tally[group, BY_SPEED] += 1
                will[c] = READY
                wait_ms[c] = 0
            continue
        if will[c] == ENGAGED and at_mode[c] != mode:
            # no memory: what is left of the distance to the next take-over stretches with its mean
            left_mm[c] = max(1, left_mm[c] * mode_mean_mm[mode] // mode_mean_mm[at_mode[c]])
        at_mode[c] = mode
        end_ms = took * driven // length
        at_mm = np.int64(0)
        at_ms = np.int64(0)
        with_mm = np.int64(0)
        with_ms = np.int64(0)
        while at_mm < driven:
            if will[c] == READY:
                if wait_ms[c] >= end_ms - at_ms:
                    wait_ms[c] -= end_ms - at_ms
                    break
                at_ms += wait_ms[c]
                wait_ms[c] = 0
                at_mm = max(at_mm, length * at_ms // took)
                if at_mm >= driven:
                    break
                count[c] += 1
                tick = key | ((count[c] & 2047) << 2)
                left_mm[c] = 1 + np.int64(exponential(draw(seed, stream_length, c, tick), mode_mean_mm[mode]))
                will[c] = ENGAGED
                tally[group, ENGAGEMENTS] += 1
            part = min(left_mm[c], driven - at_mm)
            at_mm += part
            then = took * at_mm // length
            with_mm += part
            with_ms += then - at_ms
            at_ms = then
            left_mm[c] -= part
            if left_mm[c] == 0:
                tick = key | ((count[c] & 2047) << 2)
                u = draw(seed, stream_cause, c, tick)
                cause = 0
                while cause < mode_cause.shape[1] - 1 and u >= mode_cause[mode, cause]:
                    cause += 1
                tally[group, BY_DRIVER + cause] += 1
                will[c] = READY
                wait_ms[c] = np.int64(exponential(draw(seed, stream_segment, c, tick | 2), mode_delay_ms[mode]))
        engaged_mm[i] = with_mm
        car_engaged_mm[c] += with_mm
        car_engaged_ms[c] += with_ms
        tally[group, ENGAGED_MM] += with_mm
        if link_toll[k]:
            # ProPILOT does not react to a toll plaza: the driver takes over before it
            if will[c] == ENGAGED:
                tally[group, BY_DOMAIN] += 1
            will[c] = NOT_HERE
            inside[c] = 0
