"""The project's own line in a row of engines: one network, one trip table with routes, one JSON line per run.

    python -m tests.bench.against city.net.npz t.trips.npz [--runs 5] [--trips out.npy] [--fleet] [--end S]

Each run is a process of its own, from the two files to the written trips: `wall_s`, `cpu_s` and `rss_mib` are of all of
it, imports included, with compiled kernels in numba's cache (a first run, not printed, fills it). `load_s` is reading
files, building the streets and fetching compiled code, `loop_s` the motion, in ticks as in a real run; `travel_s` is the mean from scheduled
departure to arrival, waiting to enter included. `loop_cpu_s` says whether somebody else used the core meanwhile.

The network holds `link_from link_to link_len link_speed link_lanes link_class node_*` and `tau`, `spacing` of the
fundamental diagram; the trips `depart` (s), `route_ptr`, `route_links`. Signals are not in these files.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
TICK_MS = 60_000


def read_network(path: Path) -> tuple[Any, Any]:
    """Road network and traffic settings of a `.net.npz`."""
    import numpy as np

    from maps.network import RoadNetwork
    from twin.settings import TrafficSettings

    with np.load(path) as file:
        z = dict(file)
    n, m = len(z["node_x"]), len(z["link_from"])
    ends = np.stack([z["link_from"], z["link_to"]], axis=1).ravel()
    network = RoadNetwork(
        **{name: z[name] for name in ("node_osm", "node_lon", "node_lat", "node_x", "node_y", "link_from", "link_to")},
        node_control=np.zeros(n, np.uint8),
        link_length=z["link_len"],
        link_speed=z["link_speed"],
        link_lanes=z["link_lanes"].astype(np.uint8),
        link_class=z["link_class"].astype(np.uint8),
        link_flags=np.zeros(m),
        link_radius=np.full(m, np.inf),
        link_way=np.zeros(m),
        geom_ptr=np.arange(m + 1) * 2,
        geom_x=z["node_x"][ends].astype(np.float32),
        geom_y=z["node_y"][ends].astype(np.float32),
        ban_from=np.empty(0),
        ban_to=np.empty(0),
    )
    return network, TrafficSettings(spacing_m=float(z["spacing"]), tau_s=float(z["tau"]))


def once(net: Path, trips: Path, out: Path, *, end_s: int, fleet: bool) -> dict[str, Any]:
    """Drive every trip to its end (or to `end_s`) and write departure, entry and arrival of each, ms."""
    import numpy as np

    from twin.traffic.engine import Streets
    from twin.traffic.traversals import Traversals

    start = perf_counter()
    network, settings = read_network(net)
    with np.load(trips) as file:
        depart_ms, ptr, links = file["depart"] * 1000, file["route_ptr"], file["route_links"]
    n = len(depart_ms)
    streets = Streets(network, settings, n if fleet else 0)
    rows = np.arange(n) if fleet else streets.rows_for(n)
    streets.depart(rows, depart_ms, ptr, links)
    trip_of = np.zeros(int(rows.max()) + 1, np.int64)
    trip_of[rows] = np.arange(n)
    # nothing is due yet: this call reads the compiled kernel from numba's cache
    traversals = Traversals()
    streets.advance(0, traversals)
    loaded = perf_counter()
    cpu = process_time()
    written = np.full((n, 3), -1, np.int64)
    written[:, 0] = depart_ms
    now, left = 0, n
    while left and now < end_s * 1000:
        now += TICK_MS
        arrivals = streets.advance(now, traversals)
        written[trip_of[arrivals.vehicle], 2] = arrivals.at_ms
        left -= len(arrivals.vehicle)
    done, cpu = perf_counter(), process_time() - cpu
    written[:, 1] = streets.first_ms(rows)
    np.save(out, written)
    arrived = written[:, 2] >= 0
    travel = (written[arrived, 2] - written[arrived, 0]).mean() / 1000 if arrived.any() else 0.0
    return {
        "load_s": round(loaded - start, 3),
        "loop_s": round(done - loaded, 4),
        "loop_cpu_s": round(cpu, 4),
        "arrived": int(arrived.sum()),
        "travel_s": round(float(travel), 2),
        "moves": streets.moves,
        "rings_turned": streets.rings_turned[0],
    }


def measured(arguments: list[str]) -> dict[str, Any]:
    """Run this module in a process of its own; wall and CPU seconds, peak memory, and what it says."""
    command = [sys.executable, "-m", "tests.bench.against", *arguments, "--inner"]
    with tempfile.TemporaryFile() as said:
        start = perf_counter()
        child = os.posix_spawn(
            sys.executable, command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, said.fileno(), 1)]
        )
        _, status, usage = os.wait4(child, 0)
        wall = perf_counter() - start
        said.seek(0)
        text = said.read().decode()
    line: dict[str, Any] = {
        "engine": "fleet-twin",
        "rc": os.waitstatus_to_exitcode(status),
        "wall_s": round(wall, 3),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 3),
        "rss_mib": round(usage.ru_maxrss / 1024, 1),
    }
    return line | (json.loads(text) if text.strip() else {})


def main() -> int:
    """Print one line per run; the exit code is that of the last run."""
    parser = argparse.ArgumentParser(prog="against", description=__doc__)
    parser.add_argument("net", type=Path)
    parser.add_argument("routes", type=Path)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--end", type=int, default=86_400, help="give up at this second")
    parser.add_argument("--trips", type=Path, help="where the trips are written; left out: a file that is removed")
    parser.add_argument("--fleet", action="store_true", help="every vehicle is a fleet car and gets a row per link")
    parser.add_argument("--inner", action="store_true", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.inner:
        print(json.dumps(once(a.net, a.routes, a.trips, end_s=a.end, fleet=a.fleet)))
        return 0
    code = 0
    with tempfile.TemporaryDirectory() as folder:
        given = [str(a.net.resolve()), str(a.routes.resolve()), "--end", str(a.end)]
        given += ["--trips", str(a.trips or Path(folder) / "trips.npy"), *(["--fleet"] if a.fleet else [])]
        os.chdir(ROOT)
        measured(given)
        for _ in range(a.runs):
            line = measured(given) | {"trips": a.routes.name}
            print(json.dumps(line), flush=True)
            code = line["rc"]
    return code


if __name__ == "__main__":
    sys.exit(main())
