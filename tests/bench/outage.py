"""The cloud is down for half an hour at the evening peak: `python -m tests.bench.outage --cars 200000`.

A tenth of the cars drive at any time, in trips of 20 minutes (start-time profile and trip length of the facts);
the rest stand. Two clouds are compared: a fixed number of workers, and auto-scaling. Prints what waits, the storm,
the recovery, and what was dropped; exits 1 when a ledger is open.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from time import process_time
from typing import Any

import numpy as np
import simpy

from maps.toy import toy_city
from twin.cloud.cloud import Cloud
from twin.fleet.fleet import Fleet, State
from twin.settings import CloudSettings
from twin.traffic.traversals import Traversals

MINUTE = 60_000
SHARE_DRIVING = 0.1
TRIP_MIN = 20
FIRST_H, DOWN_H, LAST_H = 17.5, (18.0, 18.5), 20.0


def evening(cars: int, *, store_b: int | None = None, seed: int = 1, **knobs: Any) -> tuple[Cloud, dict[str, Any]]:
    """Run the evening; returns the cloud and its summary."""
    city = toy_city(60, length_m=300.0, homes=400)
    grid = np.arange(400.0, 60 * 300.0, 800.0)  # a cell every 800 m, as maps of towns have
    x, y = (v.ravel().astype(np.float32) for v in np.meshgrid(grid, grid))
    city = replace(city, cell_x=x, cell_y=y)
    fleet = Fleet(cars)
    fleet.connected[:] = 1
    fleet.network_generation[:] = 4
    fleet.node[:] = fleet.home_node[:] = np.arange(cars) % city.network.n_nodes
    outage = tuple(h - FIRST_H for h in DOWN_H)
    env = simpy.Environment()
    settings = CloudSettings(**({"outage": [outage], "message_log_cars": 0} | knobs))
    cloud = Cloud(
        city, fleet, settings, env, seed=seed, horizon_ms=round((LAST_H - FIRST_H) * 60) * MINUTE,
        start_s_of_day=round(FIRST_H * 3600),
    )  # fmt: skip
    if store_b is not None:
        cloud.up.store.limit_b[:] = store_b
    # every car belongs to one of ten shifts of cars that take turns in driving
    shifts = round(1 / SHARE_DRIVING)
    links = city.network.n_links
    for minute in range(round((LAST_H - FIRST_H) * 60)):
        shift, into = divmod(minute, TRIP_MIN)
        out = np.arange(shift % shifts, cars, shifts)
        fleet.state[:], fleet.link[:] = State.PARKED, -1
        fleet.state[out] = State.DRIVING
        fleet.link[out] = (out * 7 + minute) % links
        fleet.node[out] = city.network.link_from[fleet.link[out]]
        rows = Traversals(len(out))
        rows.n = len(out)
        rows.car[:], rows.link[:] = out, fleet.link[out]
        rows.enter_ms[:], rows.exit_ms[:] = minute * MINUTE, (minute + 1) * MINUTE
        rows.driven_mm[:] = 500_000
        env.run(until=(minute + 1) * MINUTE)
        ends = into == TRIP_MIN - 1
        nobody = np.zeros(0, np.int32)
        cloud.talk(
            minute * MINUTE, (minute + 1) * MINUTE, rows, out if into == 0 else nobody, out if ends else nobody, nobody,
        )  # fmt: skip
    cloud.finish(cloud.horizon_ms)
    return cloud, cloud.summary()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cars", type=int, default=200_000)
    cars = parser.parse_args().cars
    broken = 0
    fixed: dict[str, Any] = {"workers": 3}
    for name, knobs in (
        ("3 workers", fixed),
        ("3 to 24 workers, 3 min delay", fixed | {"most_workers": 24}),
        ("3 to 24 workers, quota 4,000/s", fixed | {"most_workers": 24, "quota_messages_per_s": 4000.0}),
        ("3 to 24 workers, stores of 100 kB in the cars", fixed | {"most_workers": 24, "store_b": 100_000}),
    ):
        began = process_time()
        cloud, summary = evening(cars, **knobs)
        ledger = {key: value for key, value in cloud.ledger().items() if value}
        broken += bool(ledger)
        found, ingest = summary["outages"][0], summary["ingest"]
        recovery = "not in the run" if found["recovery_s"] is None else f"{found['recovery_s'] / 60:.0f} min"
        print(f"{cars:,} cars, {name}: {process_time() - began:.0f} s of one core")
        rates = f"{found['normal_messages_per_s']:,.0f} before, storm {found['storm_messages_per_s']:,.0f}"
        queue = f"{found['most_messages_inside']:,} messages, {ingest['most_workers']} workers"
        latency = ", ".join(f"{ingest[f'{name}_latency_s']:.1f}" for name in ("median", "p95", "p99"))
        dropped = f"{summary['dropped_bytes'] / 1e6:,.1f} MB, {summary['resent_bytes'] / 1e9:.2f} GB"
        for label, text in (
            ("waiting in cars at the end", f"{found['waiting_bytes'] / 1e9:.2f} GB"),
            ("messages per s", rates),
            ("longest ingest queue", queue),
            ("latency p50, p95, p99, s", latency),
            ("recovery", f"{recovery} after the outage"),
            ("dropped, resent", dropped),
            ("ledgers", str(ledger or "closed")),
        ):
            print(f"  {label:<28} {text}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
