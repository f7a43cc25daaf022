"""Memory and speed over many simulated days: `python -m tests.lasting --days 7`.

Resident memory is read at the end of each simulated day, after a collection; rows of the results' tables are shown
apart, since a run keeps them until it writes. Exit code 1 when resident memory grows by more than 1 % a day from day 2.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maps.network import CityMap
from runs.scenario import Scenario
from twin.model import Twin

MOST_A_DAY = 0.01


@dataclass(frozen=True)
class Day:
    """What was seen at the end of one simulated day."""

    resident_mb: float
    rows_mb: float
    files: int
    seconds: float


def slope_a_day(megabytes: list[float]) -> float:
    """Least-squares growth per day as a share of the mean, over the days from the second on."""
    later = np.array(megabytes[1:], float)
    if len(later) < 2:
        raise ValueError(f"a slope needs three days or more, not {len(megabytes)}")
    return float(np.polyfit(np.arange(len(later)), later, 1)[0] / later.mean())


def live(scenario: Scenario, city: CityMap, days: int) -> list[Day]:
    twin = scenario.but(until=f"{days}d").build_on(city)
    seen, began = [], time.process_time()
    while not twin.world.done:
        twin.step()
        if twin.world.now_ms % 86_400_000 == 0:
            seen.append(
                Day(
                    _resident_mb(),
                    _rows_mb(twin),
                    len(list(Path("/proc/self/fd").iterdir())),
                    time.process_time() - began,
                )
            )
            day = seen[-1]
            print(
                f"day {len(seen)}: {day.resident_mb:.1f} MB resident, {day.rows_mb:.2f} MB of rows, {day.seconds:.1f} s"
            )
            began = time.process_time()
    twin.world.finish()
    open_ledgers = {name: value for name, value in twin.world.ledger().items() if value}
    if open_ledgers:
        raise AssertionError(f"ledgers do not close: {open_ledgers}")
    return seen


def _resident_mb() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _rows_mb(twin: Twin) -> float:
    return sum(column.nbytes for table in twin.world.tables() for column in table.arrays().values()) / 1e6


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--days", type=int, default=7)
    options.add_argument("--scenario", default="demo")
    options.add_argument("--cars", type=int, default=500)
    given = options.parse_args()
    scenario = Scenario.load(given.scenario).but(fleet__cars=given.cars)
    seen = live(scenario, scenario.city(), given.days)
    whole = slope_a_day([day.resident_mb for day in seen])
    left = slope_a_day([day.resident_mb - day.rows_mb for day in seen])
    print(f"growth a day from day 2: {whole:+.2%} of resident memory, {left:+.2%} without the rows of the results")
    print(f"open files {seen[1].files} on day 2, {seen[-1].files} at the end")
    fine = whole <= MOST_A_DAY and seen[-1].files <= seen[1].files
    print("flat" if fine else "GROWS")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
