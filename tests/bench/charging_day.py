"""A day of charging alone: SimPy queues and power kernels for many electric cars, on one core.

`python -m tests.bench.charging_day --cars 200000` prints CPU seconds and sessions a second. Every car comes home once
(a normal evening, 18:00 ± 2.5 h), plugs in, takes a median of 9 kWh at 6 kW and leaves the next morning; one in twenty
also stops at one of the fast sites and may queue. Ticks of a minute, as in a run.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
from time import process_time

import numpy as np

from maps.toy import toy_city
from tests.charging_cases import KWH, electric_fleet, make
from twin.charging.charging import Charging
from twin.charging.site import SiteKind

HOUR, MINUTE = 3_600_000, 60_000


def prepare(cars: int, *, policy: str = "uncontrolled") -> Charging:
    """Cars of 40 kWh with homes in a town large enough for a feeder per ten of them."""
    city = toy_city(30, homes=max(1500, cars // 4))
    fleet = electric_fleet(cars, city=city)
    rng = np.random.default_rng(1)
    take = np.clip(rng.lognormal(np.log(9.0), 0.6, cars), 1.0, 36.0)
    fleet.battery_j[:] = fleet.capacity_j - np.rint(take * KWH).astype(np.int64)
    return make(fleet, city=city, home_access=1.0, work_access=0.0, extra_fast_sites=200, policy_name=policy)


def day(charging: Charging) -> int:
    """Drive a day and return the number of sessions."""
    fleet, cars = charging.fleet, len(charging.fleet)
    rng = np.random.default_rng(2)
    come = np.rint(np.clip(rng.normal(18.0, 2.5, cars), 10.0, 23.5) * HOUR).astype(np.int64)
    leave = np.rint((24.0 + rng.uniform(6.0, 9.0, cars)) * HOUR).astype(np.int64)
    fast = charging.sites.rows(SiteKind.FAST)
    early = np.flatnonzero(rng.random(cars) < 0.05)
    stop = np.rint(rng.uniform(7.0, 9.0, len(early)) * HOUR).astype(np.int64)
    stop_order, by_come = np.argsort(stop), np.argsort(come, kind="stable")
    come_sorted, stop_sorted = come[by_come], stop[stop_order]
    for t0 in range(0, 24 * HOUR, MINUTE):
        t1 = t0 + MINUTE
        a, b = np.searchsorted(stop_sorted, [t0, t1])
        rows = stop_order[a:b]
        if len(rows):
            who = early[rows]
            target = np.minimum(fleet.battery_j[who] + 3 * KWH, fleet.capacity_j[who])
            charging.arrive(who, fast[who % len(fast)], stop[rows], -1, target)
        a, b = np.searchsorted(come_sorted, [t0, t1])
        who = by_come[a:b]
        who = who[charging.car_session[who] < 0]
        if len(who):
            charging.arrive(who, fleet.home_site[who], come[who], leave[who], fleet.capacity_j[who])
        charging.flow(t0, t1)
        charging.sessions.env.run(until=t1)
        charging.released()
    charging.finish(24 * HOUR)
    assert not any(charging.ledger().values())
    return charging.asked


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cars", type=int, default=200_000)
    parser.add_argument("--policy", default="uncontrolled")
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    day(prepare(50))  # compile
    charging = prepare(given.cars, policy=given.policy)
    profile = cProfile.Profile()
    if given.profile:
        profile.enable()
    began = process_time()
    sessions = day(charging)
    seconds = process_time() - began
    profile.disable()
    if given.profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
    kwh = charging.grid_summary()["energy_kwh"]
    print(
        f"{given.cars:,} cars, 24 h, {given.policy}: {sessions:,} sessions in {seconds:.1f} s of CPU, "
        f"{sessions / seconds:,.0f} sessions/s, {seconds / sessions * 1e6:.0f} us each; {kwh:,.0f} kWh"
    )


if __name__ == "__main__":
    main()
