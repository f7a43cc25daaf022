"""Speed on this machine, as a table: `make bench`, or `python -m tests.bench.run --only kernel`.

Nothing here fails because a machine is slow: figures are for a person who compares two
versions on one machine. Each figure is the best of several repetitions, because the
best is the one that the rest of the machine disturbed least.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter, process_time
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
REPETITIONS = 3


class Figure(NamedTuple):
    """One line of the table."""

    what: str
    value: float
    unit: str
    how: str


def best(
    action: Callable[[], object], repetitions: int = REPETITIONS, *, clock: Callable[[], float] = perf_counter
) -> float:
    """Shortest time of an action, s; wall time by default."""
    times = []
    for _ in range(repetitions):
        start = clock()
        action()
        times.append(clock() - start)
    return min(times)


def imports() -> Iterator[Figure]:
    """How long a command waits before it does anything; each in a fresh process."""

    def fresh(code: str) -> float:
        return best(lambda: subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True), 5)

    bare = fresh("pass")
    yield Figure("python starts", bare, "s", "python -c pass")
    yield Figure(
        "twin --help",
        fresh("import sys; sys.argv = ['twin', '--help']; from runs.cli import main; main()"),
        "s",
        "as the console script",
    )
    for module in ("runs", "maps.build", "twin.model", "viz.report"):
        yield Figure(f"import {module}", fresh(f"import {module}") - bare, "s", "above python's own start")


def kernel() -> Iterator[Figure]:
    """Link traversals and routes per second: random journeys on a grid, departures over an hour."""
    import numpy as np

    from maps.toy import grid
    from twin.chance import Stream, chance
    from twin.settings import TrafficSettings
    from twin.traffic.engine import LinkPhysics, Streets
    from twin.traffic.routing import Router
    from twin.traffic.traversals import Traversals

    side, hour_ms, tick_ms = 40, 3_600_000, 60_000
    network = grid(side, side, length_m=150.0, lanes=2, road_class="tertiary", signals=True)
    settings = TrafficSettings()
    free_ms = LinkPhysics.of(network, settings).free_ms
    router = Router(network, free_ms)

    for vehicles in (2_000, 10_000, 30_000):
        rows = np.arange(vehicles)
        origins = (chance(1, Stream.OTHER_ORIGIN, rows) * network.n_nodes).astype(np.int64)
        targets = (chance(1, Stream.OTHER_DESTINATION, rows) * network.n_nodes).astype(np.int64)
        depart_ms = np.sort((chance(1, Stream.DEPART, rows) * hour_ms).astype(np.int64))
        router.routes(origins[:10], targets[:10], free_ms)  # compiled before the clock starts
        start = perf_counter()
        routes = router.routes(origins, targets, free_ms)
        routing_s = perf_counter() - start
        found = np.flatnonzero(routes.found)
        kept = routes.only(routes.found)

        def drive(
            found: np.ndarray = found, kept: object = kept, at_ms: np.ndarray = depart_ms[found]
        ) -> tuple[int, float, int]:
            streets = Streets(network, settings, len(at_ms))
            traversals = Traversals()
            streets.depart(np.arange(len(at_ms)), at_ms, kept.ptr, kept.links)  # type: ignore[attr-defined]
            begun, now = perf_counter(), 0
            while now < 2 * hour_ms and (now < hour_ms or streets.on_road + streets.in_source):
                now += tick_ms
                streets.advance(now, traversals)
            return streets.moves, perf_counter() - begun, now

        runs = [drive() for _ in range(REPETITIONS + 1)]
        moves, seconds, until_ms = min(runs[1:], key=lambda r: r[1])
        label = f"{vehicles:,} vehicles, {network.n_links:,} links"
        yield Figure("link traversals", moves / seconds, "1/s", f"{label}, {moves:,} in {seconds:.2f} s, one core")
        yield Figure("traffic alone", until_ms / 1000 / seconds, "simulated s/s", label)
        yield Figure(
            "routes", vehicles / routing_s, "1/s", f"{label}, mean {len(kept.links) / max(len(found), 1):.0f} links"
        )


def routing() -> Iterator[Figure]:
    """Full paths per second between random nodes of the largest real city; beside others: tests.bench.routing_peers."""
    import numpy as np

    from maps.build import build_map
    from twin.settings import TrafficSettings
    from twin.traffic.engine import LinkPhysics
    from twin.traffic.routing import Router

    network = build_map("porto").network
    free_ms = LinkPhysics.of(network, TrafficSettings()).free_ms
    rng = np.random.default_rng(1)
    pairs = rng.integers(network.n_nodes, size=(2, 20_000))
    busy_ms = free_ms + (free_ms * rng.exponential(0.5, network.n_links)).astype(np.int64)
    label = f"{network.n_nodes:,} nodes, {network.n_links:,} links"
    Router(network, free_ms).routes(*pairs[:, :10], free_ms)  # compiled before the clock starts
    yield Figure("order and contract", best(lambda: Router(network, free_ms)), "s", f"{label}, once per network")
    for threads in (1, 2):
        router = Router(network, free_ms, threads=threads)
        if threads == 1:
            costs = [free_ms, busy_ms] * 5
            again_s = min(best(lambda c=c, r=router: r.routes([0], [1], c), 1, clock=process_time) for c in costs)  # type: ignore[misc]
            yield Figure("weigh again", 1000 * again_s, "ms", "all costs changed, one core")
        for name, cost_ms in (("free flow", free_ms), ("busy", busy_ms)):
            router.routes(*pairs[:, :10], cost_ms)
            before = router.searched_again
            # one thread by its processor time, which others on the machine do not change
            clock = process_time if threads == 1 else perf_counter
            seconds = best(lambda c=cost_ms, r=router: r.routes(*pairs, c), clock=clock)  # type: ignore[misc]
            again = (router.searched_again - before) / REPETITIONS / pairs.shape[1]
            links = len(router.routes(*pairs, cost_ms).links) / pairs.shape[1]
            how = f"{name}, mean {links:.0f} links, {again:.1%} searched again, threads {threads}"
            yield Figure("routes", pairs.shape[1] / seconds, "1/s", how)


def whole() -> Iterator[Figure]:
    """A whole day of the demo: everything between the map file and the last meter, without writing results."""
    from runs.scenario import Scenario

    scenario = Scenario.load("demo")
    build_s = best(scenario.build, 1)  # compiles, and builds the map file when there is none
    start = perf_counter()
    twin = scenario.build()
    build_again_s = perf_counter() - start
    yield Figure("build, first", build_s, "s", f"demo, {scenario.fleet.cars:,} cars")
    yield Figure("build, again", build_again_s, "s", "map file and kernels in the cache")
    start = perf_counter()
    while not twin.world.done:
        twin.step()
    seconds = perf_counter() - start
    yield Figure(
        "whole run",
        twin.world.now_ms / 1000 / seconds,
        "simulated s/s",
        f"{twin.world.now_ms / 3.6e6:.0f} h in {seconds:.1f} s, one core",
    )
    total = sum(twin.world.phase_s.values()) or 1.0
    for phase, spent_s in twin.world.phase_s.items():
        yield Figure(f"  {phase}", 100 * spent_s / total, "%", f"{spent_s:.2f} s")


PARTS: dict[str, Callable[[], Iterator[Figure]]] = {
    "import": imports,
    "kernel": kernel,
    "routing": routing,
    "whole": whole,
}


def main() -> int:
    """Print the table; a part that cannot run says why and the exit code is 1."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", choices=PARTS, help="one part")
    only = parser.parse_args().only
    print(
        f"{platform.python_implementation()} {platform.python_version()}, {platform.machine()}, best of {REPETITIONS}\n"
    )
    failed = 0
    for name in [only] if only else PARTS:
        try:
            for figure in PARTS[name]():
                value = f"{figure.value:,.0f}" if figure.value >= 100 else f"{figure.value:.3g}"
                print(f"{figure.what:24}{value:>14} {figure.unit:14}  {figure.how}", flush=True)
        except Exception as error:  # the other parts still say something
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
