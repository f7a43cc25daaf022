"""What a sample of the population does to travel times: `python -m tests.bench.samples [porto] [--trips 100000]`.

The same trips every time, on the routes of empty streets: of all of them those with u < sample are driven, on streets
that carry and hold so much less. Errors are against the same trips in the full run. Signals as in a run.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from time import process_time

import numpy as np
from numpy.typing import NDArray

from maps.build import build_map
from maps.network import RoadNetwork
from tests.bench import cases
from twin.chance import Stream, chance
from twin.settings import TrafficSettings
from twin.traffic.engine import Streets
from twin.traffic.routing import Routes
from twin.traffic.traversals import Traversals

SAMPLES = (1.0, 0.25, 0.1, 0.01)


def travel_s(
    network: RoadNetwork, settings: TrafficSettings, depart_ms: NDArray[np.int64], routes: Routes, *, hours: int = 12
) -> NDArray[np.float64]:
    """From departure to arrival of every trip, NaN where it did not arrive; rows of other traffic."""
    streets = Streets(network, settings, 0)
    rows = streets.rows_for(len(depart_ms))
    trip_of = np.zeros(streets.rows, np.int64)
    trip_of[rows] = np.arange(len(rows))
    streets.depart(rows, depart_ms, routes.ptr, routes.links)
    took = np.full(len(rows), np.nan)
    nothing = Traversals(1)
    for until in range(60_000, hours * 3_600_000 + 1, 60_000):
        gone = streets.advance(until, nothing)
        who = trip_of[gone.vehicle]
        took[who] = (gone.at_ms - depart_ms[who]) / 1000
        if not np.isnan(took).any():
            break
    return took


def main() -> None:
    parser = argparse.ArgumentParser(prog="samples", description=__doc__)
    parser.add_argument("city", nargs="?", default="porto")
    parser.add_argument("--trips", type=int, default=100_000)
    a = parser.parse_args()
    case = cases.city(a.city, a.trips)
    network = replace(build_map(a.city).network)
    u = chance(1, Stream.OTHER_TRAFFIC, np.arange(a.trips))
    free_s = case.routes.totals(network.link_free_s)
    whole: NDArray[np.float64] = np.empty(0)
    print(
        "| sample | rows | mean travel, s | mean error | median error of trips | mean delay, s | not arrived | CPU, s |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for sample in SAMPLES:
        kept = np.flatnonzero(u < sample)
        begun = process_time()
        settings = case.settings.model_copy(update={"sample": sample})
        took = travel_s(network, settings, case.depart_s[kept] * 1000, case.routes.take(kept))
        spent = process_time() - begun
        if sample == 1:
            whole = took
        both = np.isfinite(took) & np.isfinite(whole[kept])
        error = took[both] / whole[kept][both] - 1
        mean = took[both].mean() / whole[kept][both].mean() - 1
        print(
            f"| {sample:.0%} | {len(kept):,} | {took[both].mean():,.0f} | {mean:+.1%} | {np.median(np.abs(error)):.1%} "
            f"| {(took[both] - free_s[kept][both]).mean():,.0f} | {int(np.isnan(took).sum()):,} | {spent:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
