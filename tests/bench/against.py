"""The project's own line in a row of engines: one network, one trip table with routes, one JSON line per run.

    python -m tests.bench.against city.net.npz t.trips.npz [--runs 5] [--trips out.npy] [--fleet] [--end S]

Each run is a process of its own, from the two files to the written trips: `wall_s`, `cpu_s` and `rss_mib` are of all of
it, imports included, with compiled kernels in numba's cache (a first run, not printed, fills it). `load_s` is reading
files, building the streets and fetching compiled code, `loop_s` the motion, in ticks as in a real run; `travel_s` is
the mean from scheduled departure to arrival, waiting to enter included. `loop_cpu_s` is the loop's processor time: much
less than `loop_s` when somebody else used the core meanwhile.

The network holds `link_from link_to link_len link_speed link_lanes link_class node_*`, `tau`, `spacing` of the
fundamental diagram and, where it has some, `ban_from ban_to`; the trips `depart` (s), `route_ptr`, `route_links`.
Signals are not in these files.
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

from tests.bench.process import measured

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
        ban_from=z.get("ban_from", np.empty(0, np.int32)),
        ban_to=z.get("ban_to", np.empty(0, np.int32)),
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


def run(net: Path, trips: Path, out: Path, *, end_s: int = 86_400, fleet: bool = False) -> dict[str, Any]:
    """One measured run in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.against", str(net.resolve()), str(trips.resolve()), "--inner"]
    command += ["--end", str(end_s), "--trips", str(out), *(["--fleet"] if fleet else [])]
    done = measured(command, environment={**os.environ, "PYTHONPATH": str(ROOT)})
    line = {"engine": "fleet-twin", **done.cost}
    if done.cost["rc"]:
        return line | {"error": done.said.strip()[-300:]}
    return line | json.loads(done.said.strip().splitlines()[-1])


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
        out = a.trips or Path(folder) / "trips.npy"
        run(a.net, a.routes, out, end_s=a.end, fleet=a.fleet)
        for _ in range(a.runs):
            line = run(a.net, a.routes, out, end_s=a.end, fleet=a.fleet)
            print(json.dumps(line | {"trips": a.routes.name}), flush=True)
            code = line["rc"]
    return code


if __name__ == "__main__":
    sys.exit(main())
