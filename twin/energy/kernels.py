"""Compiled energy: one pass over the links that cars left in a tick.

`road` has one record per link, `car_of` one per hour of the day and car model (the weather of the
hour is folded in, so the loop multiplies and does not look up), `profile` the constants of
`facts/energy.toml` [link_profile]. Amounts in the ledger are integers: what is added to one
column is subtracted from another as the same number.
"""

from __future__ import annotations

import numpy as np
from numba import njit

# columns of `road`
LENGTH, FREE_SPEED, FREE_S, CALM, BUSY, CONTROL, LENGTH_MM, SLOPE = range(8)
ROAD_COLUMNS = 8  # one cache line
# entries of `profile`
PACE_LOW, PACE_RISE, SPREAD, INV_KNEE, COAST, CALM_0, CALM_V, CALM_MIN, BUSY_0, BUSY_V, MOVING_LOW = range(11)
# entries of `control` (e-POWER engine)
SOC_LOW, SOC_HIGH, EV_LIMIT_W, FIRST_SETPOINT = range(4)
# entries of `habit` (e-POWER engine second by second)
EV_SPEED, SOC_TARGET, MIN_ON_S, MIN_OFF_S, START_J, STORE_ETA = range(6)
# columns of `car_of`. Spent at the bus (electric drive) or from the tank (combustion), J:
# PER_TRACTION * traction - PER_BRAKED * braked + MOVING_W * moving time + STEADY_W * time
CAR_KIND, CAR_INERTIA, CAR_A, CAR_B, CAR_C, PER_TRACTION, PER_BRAKED, MOVING_W, STEADY_W = range(9)
UL_PER_J, GENERATOR_W, OUT_OF_REACH, WEIGHT_N = range(9, 13)
CAR_COLUMNS = 16  # two cache lines
ELECTRIC, EPOWER, COMBUSTION = range(3)
# entries of `total`
ROWS_ENERGY_J, ROWS_FUEL_UL, ROWS_DRIVEN_MM, ROWS_LENGTH_MM, OVER_RATED, REGEN_REFUSED_J = range(6)


@njit(cache=True, inline="always")
def wheel(length, free_speed, free_s, calm, busy, control, seconds, inertia, a, b, c, climb, profile):  # type: ignore[no-untyped-def]
    """Traction energy, braked energy (both at the wheel, J) and moving time (s) of one link.

    `control` is the speed gain per metre that a sign at the link's end forces, `climb` the weight's part along the
    road, N: above 0 uphill. Traction less braked energy is always what road load and height take; where the road
    pushes harder than the load holds, gravity helps to gain speed as the load else helps to lose it.
    """
    q = min(1.0, free_s / seconds)
    pace = max(q, profile[PACE_LOW] + profile[PACE_RISE] * q)
    speed = free_speed * pace
    delay = 1.0 - q
    force = a + b * speed + c * speed * speed * (1.0 + profile[SPREAD] * delay) + climb
    gain = max(control, calm + (busy - calm) * min(1.0, delay * profile[INV_KNEE]))
    push = inertia * gain
    given = push * push / (push + profile[COAST] * abs(force)) if push > 0.0 else 0.0
    braked = given + max(0.0, -force)
    moving_s = min(seconds, free_s / (pace * (profile[MOVING_LOW] + (1.0 - profile[MOVING_LOW]) * q)))
    return (force + braked) * length, braked * length, moving_s


@njit(cache=True)
def engine(need, seconds, battery, low, high, on, control, rated):  # type: ignore[no-untyped-def]
    """Bus energy from an e-POWER engine over a link of constant power, and whether it runs at the end.

    Above the limit of electric drive the engine runs at the first set-point that covers
    the demand, and follows the load once the battery is at the upper threshold. Below,
    it runs at a set-point from the lower to the upper threshold and rests on the way
    back; the cycles within a long link are counted, not stepped.
    """
    power = need / seconds
    if power <= 0.0:
        return 0.0, False
    setpoint = rated
    for k in range(FIRST_SETPOINT, len(control)):
        if control[k] > power:
            setpoint = min(rated, control[k])
            break
    if power > control[EV_LIMIT_W] or setpoint <= power:
        return min(setpoint * seconds, need + max(0.0, high - battery)), True
    # most links are over before the engine switches: products tell that without a division
    rise, left, made = setpoint - power, seconds, 0.0
    if on and battery >= high:
        on = False
    if not on and battery <= low:
        on = True
    if on:
        if high - battery >= rise * left:
            return setpoint * left, True
        span = (high - battery) / rise
        made = setpoint * span
        left -= span
        battery = high
    if battery - low >= power * left:
        return made, False
    left -= (battery - low) / power
    run = (high - low) / rise
    rest = (high - low) / power
    cycles = np.floor(left / (run + rest))
    left -= cycles * (run + rest)
    made += cycles * run * setpoint
    if left <= run:
        return made + setpoint * left, True
    return made + setpoint * run, False


@njit(cache=True)
def generator(bus_w, speed, step_s, laps, capacity, control, habit, rated, share_w, shares, etas):  # type: ignore[no-untyped-def]
    """An e-POWER engine second by second: fuel (J), bus energy made (J), starts, running time (s), battery gained (J).

    The trace is driven `laps` times; the first settles the battery and is not counted.
    share_w: generator power at full load of the engine's map (`shares`, `etas`: bus per fuel energy).
    """
    soc, since = habit[SOC_TARGET], habit[MIN_OFF_S]
    on, charging = False, False
    fuel, made, starts, on_s, begin = 0.0, 0.0, 0, 0.0, soc
    for lap in range(laps):
        if lap == 1:
            fuel, made, starts, on_s, begin = 0.0, 0.0, 0, 0.0, soc
        for i in range(len(bus_w)):
            need = bus_w[i]
            if soc <= control[SOC_LOW]:
                charging = True
            elif soc >= control[SOC_HIGH]:
                charging = False
            wanted = charging or need > control[EV_LIMIT_W]
            if speed[i] > habit[EV_SPEED] and need > 0.0 and soc < habit[SOC_TARGET]:
                wanted = True  # tyres drown the engine here, so it runs early
            if need <= 0.0 and soc > control[SOC_LOW]:
                wanted = False
            if wanted and not on and since >= habit[MIN_OFF_S]:
                on, since = True, 0.0
                fuel += habit[START_J]
                starts += 1
            elif on and not wanted and since >= habit[MIN_ON_S]:
                on, since = False, 0.0
            since += step_s
            power = 0.0
            if on:
                power = max(need, control[FIRST_SETPOINT])
                if charging:
                    power = control[len(control) - 1]
                    for k in range(FIRST_SETPOINT, len(control)):
                        if control[k] > need:
                            power = control[k]
                            break
                power = min(power, rated)
                fuel += power / np.interp(power / share_w, shares, etas) * step_s
                made += power * step_s
                on_s += step_s
            flow = (power - need) * step_s / capacity
            soc = min(1.0, soc + (flow * habit[STORE_ETA] if flow > 0.0 else flow))  # full: the brakes take it
    return fuel, made, starts, on_s, (soc - begin) * capacity


@njit(cache=True)
def spend(  # type: ignore[no-untyped-def]
    n, car, link, enter_ms, exit_ms, energy_j, fuel_ul, driven_mm,
    road, profile, car_of, control, start_ms,
    model, battery_j, capacity_j, traction_j, engine_j, car_fuel_ul, car_driven_mm, car_towed_mm, drive_ms,
    engine_on, empty, total, ran_empty, steady, keep,
):  # fmt: skip
    """Spend the energy of `n` traversals in time order; returns how many cars ran empty now.

    car_of (hours, n_models, CAR_COLUMNS) holds by hour, from midnight before the start and again from there, at the
    link's end. Of a battery car's energy a share OUT_OF_REACH stays in the battery while it is cold. A car marked in
    `steady` spends `keep` times as much at the wheel.
    """
    hours = len(car_of)
    found = 0
    sum_energy, sum_fuel, sum_driven, sum_length = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    for i in range(n):
        who = car[i]
        rec = road[link[i]]
        par = car_of[((exit_ms[i] + start_ms) // 3_600_000) % hours, model[who]]
        ms = exit_ms[i] - enter_ms[i]
        seconds = max(ms, 1) * 0.001
        mm = np.int64(rec[LENGTH_MM])
        traction, braked, moving_s = wheel(
            rec[LENGTH], rec[FREE_SPEED], rec[FREE_S], rec[CALM], rec[BUSY], rec[CONTROL], seconds,
            par[CAR_INERTIA], par[CAR_A], par[CAR_B], par[CAR_C], par[WEIGHT_N] * rec[SLOPE], profile,
        )  # fmt: skip
        spent = par[PER_TRACTION] * traction - par[PER_BRAKED] * braked
        if steady[who]:
            spent *= keep
        spent += par[MOVING_W] * moving_s + par[STEADY_W] * seconds
        out, burnt, went = np.int64(0), np.int64(0), mm
        if par[CAR_KIND] == COMBUSTION:
            burnt = np.int64(spent * par[UL_PER_J] + 0.5)
        else:
            need = np.int64(np.floor(spent + 0.5))
            have = battery_j[who]
            room = capacity_j[who] - have
            if par[CAR_KIND] == EPOWER:
                full = capacity_j[who]
                made_j, on = engine(
                    float(need), seconds, float(have), control[SOC_LOW] * full, control[SOC_HIGH] * full,
                    engine_on[who] != 0, control, par[GENERATOR_W],
                )  # fmt: skip
                engine_on[who] = on
                made = min(np.int64(made_j + 0.5), max(room + need, np.int64(0)))
                if made < need - have:  # a long pull above rated power; counted
                    made = need - have
                    total[OVER_RATED] += 1
                engine_j[who] += made
                burnt = np.int64(made * par[UL_PER_J] + 0.5)
                usable = have
            else:
                made = np.int64(0)
                usable = max(have - np.int64(par[OUT_OF_REACH] * capacity_j[who]), np.int64(0))
            out = need - made
            if empty[who] != 0 and usable == 0 and par[CAR_KIND] == ELECTRIC:
                went = need = out = np.int64(0)  # on the hook: the motor neither drives nor brakes
            elif out > usable:  # battery car: drives the part that it has energy for, then is towed
                went = np.int64(mm * (usable / out))
                need = out = usable
                if (empty[who] == 0 or usable > 0) and found < len(ran_empty):
                    ran_empty[found] = who
                    found += 1
                empty[who] = 1
            else:
                if empty[who] != 0 and usable > 0:
                    empty[who] = 0
                if -out > room:  # no room for what braking gives: the friction brakes take it
                    total[REGEN_REFUSED_J] += -out - room
                    need += -out - room
                    out = -room
            battery_j[who] = have - out
            traction_j[who] += need
        if burnt != 0:  # columns that most cars never touch stay out of the cache
            car_fuel_ul[who] += burnt
        car_driven_mm[who] += went
        if went != mm:
            car_towed_mm[who] += mm - went
        drive_ms[who] += ms
        energy_j[i] = out
        fuel_ul[i] = burnt
        driven_mm[i] = went
        sum_energy += out
        sum_fuel += burnt
        sum_driven += went
        sum_length += mm
    total[ROWS_ENERGY_J] += sum_energy
    total[ROWS_FUEL_UL] += sum_fuel
    total[ROWS_DRIVEN_MM] += sum_driven
    total[ROWS_LENGTH_MM] += sum_length
    return found


@njit(cache=True)
def predict(model, metres, seconds, rise, share, profile, car_of, out):  # type: ignore[no-untyped-def]
    """Battery energy of trips from length and duration, at a mean speed of `share` of the free speed.

    car_of (n_models, CAR_COLUMNS) is that of one hour.
    """
    for i in range(len(out)):
        par = car_of[model[i]]
        if par[CAR_KIND] != ELECTRIC or metres[i] <= 0.0:
            out[i] = 0
            continue
        time = max(seconds[i], 0.001)
        free = metres[i] / time / share
        calm = max(profile[CALM_MIN], profile[CALM_0] - profile[CALM_V] * free)
        busy = max(calm, profile[BUSY_0] + profile[BUSY_V] * free)
        traction, braked, moving_s = wheel(
            metres[i], free, time * share, calm, busy, 0.0, time,
            par[CAR_INERTIA], par[CAR_A], par[CAR_B], par[CAR_C], par[WEIGHT_N] * rise[i] / metres[i], profile,
        )  # fmt: skip
        bus = par[PER_TRACTION] * traction - par[PER_BRAKED] * braked
        out[i] = np.int64(bus + par[MOVING_W] * moving_s + par[STEADY_W] * time + 0.5)
