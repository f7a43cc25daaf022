"""How time and memory grow with trips: `python -m tests.bench.scale [porto] [--trips 10000,100000,1000000]`.

A day of 24 hours in a city with signals and forbidden turns. Every trip has an origin and a destination of its own
(uniform nodes, nearer ones more likely, 5 km on average), leaves at an hour drawn from the market's starts by hour,
and is routed by itself when it departs, on travel times seen every 15 minutes, as the twin does. Each size is a process
of its own, from the map file to the travel time of every trip; routing uses `--threads`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.bench.process import measured

ROOT = Path(__file__).resolve().parent.parent.parent
TICK_MS, LOOK_MS, DAY_MS = 60_000, 900_000, 86_400_000
MEAN_M = 5000.0


def pairs(x: NDArray[np.float64], y: NDArray[np.float64], nodes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Origins and destinations, shape (2, count): a pair is kept with probability exp(-distance / MEAN_M)."""
    rng = np.random.default_rng(1)
    found = np.empty((2, 0), np.int64)
    while found.shape[1] < count:
        tried = nodes[rng.integers(len(nodes), size=(2, 4 * count))]
        apart = np.hypot(x[tried[0]] - x[tried[1]], y[tried[0]] - y[tried[1]])
        found = np.concatenate(
            [found, tried[:, (apart > 0) & (rng.random(4 * count) < np.exp(-apart / MEAN_M))]], axis=1
        )
    return found[:, :count]


def day(city: str, count: int, threads: int) -> dict[str, Any]:
    """Drive one day; seconds are CPU seconds of this process."""
    from maps.build import build_map
    from maps.network import OUTSIDE
    from twin.demand.market import habits
    from twin.settings import TrafficSettings
    from twin.traffic.engine import Streets
    from twin.traffic.route_choice import RouteChoice
    from twin.traffic.routing import Router
    from twin.traffic.speeds import driven_speed
    from twin.traffic.traversals import Traversals

    wall = perf_counter()
    network = build_map(city).network
    settings = TrafficSettings()
    streets = Streets(replace(network, link_speed=driven_speed(network)), settings, 0)
    router = Router(network, streets.physics.free_ms, threads=threads)
    choice = RouteChoice(router, streets, settings)
    inside = np.unique(network.link_from[~network.has(OUTSIDE)]).astype(np.int64)
    origin, target = pairs(network.node_x, network.node_y, inside, count)
    rng = np.random.default_rng(2)
    share = habits("europe").start_share
    hour = np.searchsorted(np.cumsum(share / share.sum()), rng.random(count), "right").clip(max=23)
    depart = np.sort(((hour + rng.random(count)) * 3_600_000).astype(np.int64))
    ready = process_time()
    left = np.full(count, -1, np.int64)
    trip_of: NDArray[np.int64] = np.zeros(0, np.int64)
    took = np.full(count, -1, np.int64)
    routing, unroutable, nothing = 0.0, 0, Traversals(1)
    cuts = np.searchsorted(depart, np.arange(0, DAY_MS + 1, TICK_MS))
    for tick, (a, b) in enumerate(zip(cuts[:-1], cuts[1:], strict=True)):
        now = tick * TICK_MS
        choice.look(now, TICK_MS)
        if b > a:
            begun = process_time()
            routes = choice.routes(origin[a:b], target[a:b], np.zeros(b - a, np.int64), now)
            routing += process_time() - begun
            go = a + np.flatnonzero(routes.found)
            unroutable += b - a - len(go)
            rows = streets.rows_for(len(go))
            if streets.rows > len(trip_of):
                trip_of = np.concatenate([trip_of, np.zeros(streets.rows - len(trip_of), np.int64)])
            trip_of[rows] = go
            routes = routes.only(routes.found)
            streets.depart(rows, depart[go], routes.ptr, routes.links)
            left[go] = depart[go]
        gone = streets.advance(now + TICK_MS, nothing)
        who = trip_of[gone.vehicle]
        took[who] = gone.at_ms - left[who]
    arrived = took >= 0
    lost = count - int(arrived.sum()) - unroutable - streets.on_road - streets.in_source
    return {
        "trips": count,
        "links": network.n_links,
        "build_s": round(ready, 2),
        "routing_s": round(routing, 2),
        "drive_s": round(process_time() - ready - routing, 2),
        "run_wall_s": round(perf_counter() - wall, 2),
        "moves": streets.moves,
        "arrived": int(arrived.sum()),
        "unroutable": int(unroutable),
        "under_way": streets.on_road + streets.in_source,
        "lost": int(lost),
        "rings_turned": streets.rings_turned[0],
        "travel_s": round(float(took[arrived].mean() / 1000), 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="scale", description=__doc__)
    parser.add_argument("city", nargs="?", default="porto")
    parser.add_argument("--trips", default="10000,100000,1000000")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--inner", type=int, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.inner:
        print("RESULT " + json.dumps(day(a.city, a.inner, a.threads)))
        return 0
    print(
        "| trips | process, s | CPU, s | of it building | routing | driving | per trip, ms | memory, MiB "
        "| traversals | arrived | under way | rings | mean travel, s |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|---|---|")
    for count in a.trips.split(","):
        command = [sys.executable, "-m", "tests.bench.scale", a.city, "--inner", count, "--threads", str(a.threads)]
        done = measured(command, environment={**os.environ, "PYTHONPATH": str(ROOT)})
        told = [line for line in done.said.splitlines() if line.startswith("RESULT ")]
        if not told:
            print(done.said[-2000:], file=sys.stderr)
            return 1
        line = json.loads(told[-1][7:])
        per_trip = 1000 * (line["routing_s"] + line["drive_s"]) / line["trips"]
        print(
            f"| {line['trips']:,} | {done.cost['wall_s']:,.1f} | {done.cost['cpu_s']:,.1f} | {line['build_s']:.1f} "
            f"| {line['routing_s']:.1f} | {line['drive_s']:.1f} | {per_trip:.3f} | {done.cost['rss_mib']:,.0f} "
            f"| {line['moves'] / 1e6:.1f} M | {line['arrived']:,} | {line['under_way']:,} | {line['rings_turned']:,} "
            f"| {line['travel_s']:,.0f} |",
            flush=True,
        )
        if line["lost"]:
            print(f"{line['lost']} trips are lost", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
