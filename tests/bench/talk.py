"""The talk phase alone, for a large fleet and a whole day: `python -m tests.bench.talk --cars 1000000`.

Every car drives for 72 minutes a day in trips of 12 minutes, over links of a minute, with a report every 10 s; the
rest of the day it stands. Prints CPU time of the talk phase, messages and peak memory at 6, 12, 18 and 24 h, so that
one sees whether memory follows the number of messages.
"""

from __future__ import annotations

import argparse
import resource
from dataclasses import replace
from time import process_time

import numpy as np
import simpy

from maps.toy import toy_city
from twin.cloud.cloud import Cloud
from twin.fleet.fleet import Fleet, State
from twin.settings import CloudSettings
from twin.traffic.traversals import Traversals

MINUTE = 60_000
SHIFTS, TRIP_MIN = 20, 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cars", type=int, default=1_000_000)
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--uplink-only", action="store_true", help="without navigation, commands and HD maps")
    given = parser.parse_args()
    cars = given.cars
    city = toy_city(60, length_m=300.0, homes=400)
    grid = np.arange(400.0, 60 * 300.0, 800.0)
    x, y = (v.ravel().astype(np.float32) for v in np.meshgrid(grid, grid))
    city = replace(city, cell_x=x, cell_y=y)
    fleet = Fleet(cars)
    fleet.connected[:] = 1
    fleet.network_generation[:] = 4
    fleet.node[:] = fleet.home_node[:] = np.arange(cars) % city.network.n_nodes
    env = simpy.Environment()
    settings = CloudSettings(workers=64, **({"more_services": []} if given.uplink_only else {}))
    cloud = Cloud(city, fleet, settings, env, seed=1, horizon_ms=given.hours * 60 * MINUTE)
    spent = 0.0
    rows = Traversals(cars // SHIFTS + 1)
    nobody = np.zeros(0, np.int32)
    for minute in range(given.hours * 60):
        shift, into = divmod(minute, TRIP_MIN)
        out = np.arange(shift % SHIFTS, cars, SHIFTS)
        if into == 0:
            fleet.state[:], fleet.link[:] = State.PARKED, -1
            fleet.state[out] = State.DRIVING
        fleet.link[out] = (out * 7 + minute) % city.network.n_links
        fleet.node[out] = city.network.link_from[fleet.link[out]]
        rows.n = len(out)
        rows.car[: rows.n], rows.link[: rows.n] = out, fleet.link[out]
        rows.enter_ms[: rows.n], rows.exit_ms[: rows.n] = minute * MINUTE, (minute + 1) * MINUTE
        rows.driven_mm[: rows.n] = 600_000
        env.run(until=(minute + 1) * MINUTE)
        began = process_time()
        cloud.talk(
            minute * MINUTE, (minute + 1) * MINUTE, rows, out if into == 0 else nobody,
            out if into == TRIP_MIN - 1 else nobody, nobody,
        )  # fmt: skip
        spent += process_time() - began
        if (minute + 1) % 360 == 0:
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            made = cloud.up.delivered_messages
            print(
                f"{(minute + 1) // 60:2d} h: talk {spent:.1f} s CPU, {made:,} messages up, peak {memory:,.0f} MB",
                flush=True,
            )
    cloud.finish(cloud.horizon_ms)
    broken = {key: value for key, value in cloud.ledger().items() if value}
    print(f"{cars:,} cars, {given.hours} h: ledgers {broken or 'closed'}; "
          f"both ways {cloud.summary()['mb_both_ways_per_connected_car_day']:.2f} MB per car and day")  # fmt: skip


if __name__ == "__main__":
    main()
