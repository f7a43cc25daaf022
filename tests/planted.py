"""Fifty bugs planted one at a time; the ledgers of a run, or its laws, must catch each: `python -m tests.planted`.

A bug is one line of the program changed as a tired programmer might: a booking skipped, made twice, made on the wrong
side, or in the wrong unit. Each is planted in a process of its own, in a toy day in which cars queue, the cloud is down
and updates install. Changed kernels run
uncompiled. The same files without a bug must close, or the trial is void.
"""

from __future__ import annotations

import argparse
import ast
import re
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from maps.network import CityMap
from tests.checkpoint_cases import city, crowded
from tests.faults import open_ledgers, problems
from tests.forked import in_a_child
from tests.mutation.planting import plant

ROOT = Path(__file__).resolve().parents[1]


class Bug(NamedTuple):
    """A line of a file (its `nth` place) and what stands there instead."""

    file: str
    line: str
    wrong: str
    nth: int = 1


def _skipped(file: str, *lines: str) -> list[Bug]:
    return [Bug(file, line, "pass") for line in lines]


def _twice(file: str, *lines: str) -> list[Bug]:
    return [Bug(file, line, f"{line}; {line}") for line in lines]


BUGS = [
    # charging: joules
    *_skipped(
        "twin/charging/kernels.py",
        "battery_j[c] += gain", "charged_j[c] += gain", "car_meter_j[c] += drawn", "energy_j[row] += gain",
        "meter_j[row] += drawn", "loss_j[row] += drawn - gain", "interval_j[k - first_interval, site[row]] += drawn",
    ),
    *_twice(
        "twin/charging/kernels.py",
        "battery_j[c] += gain", "charged_j[c] += gain", "meter_j[row] += drawn",
        "interval_j[k - first_interval, site[row]] += drawn",
    ),
    Bug("twin/charging/kernels.py", "loss_j[row] += drawn - gain", "loss_j[row] += drawn"),
    Bug("twin/charging/kernels.py", "energy_j[row] += gain", "energy_j[row] += drawn"),
    Bug("twin/charging/kernels.py", "car_meter_j[c] += drawn", "car_meter_j[c] += drawn // 1000"),
    *_skipped("twin/grid/load.py", "self.total_j += total"),
    Bug("twin/grid/load.py", "keep = self.open_j[shift:].copy()", "keep = self.open_j[shift + 1 :].copy()"),
    # charging: who waits
    *_skipped("twin/charging/queues.py", "self.wait_ms[site] += wait_ms", "self.queue[site] += change"),
    *_skipped("twin/charging/charging.py", "self.asked += n"),
    *_skipped("twin/charging/record.py", "self.ended += np.bincount(v.outcome[at], minlength=len(OUTCOMES))"),
    Bug("twin/charging/queues.py", "self.wait_ms[site] += wait_ms", "self.wait_ms[site] += wait_ms // 1000"),
    # driving: joules, fuel, metres
    *_skipped(
        "twin/energy/kernels.py",
        "traction_j[who] += need", "car_fuel_ul[who] += burnt", "car_driven_mm[who] += went", "engine_j[who] += made",
    ),
    *_twice("twin/energy/kernels.py", "traction_j[who] += need", "car_fuel_ul[who] += burnt"),
    Bug("twin/energy/kernels.py", "car_driven_mm[who] += went", "car_driven_mm[who] += mm + 1"),
    *_skipped("twin/energy/kernels.py", "sum_driven += went"),
    # assistance
    *_skipped(
        "twin/autonomy/kernels.py",
        "car_engaged_mm[c] += with_mm", "tally[group, ENGAGED_MM] += with_mm", "tally[group, ENGAGEMENTS] += 1",
        "tally[group, DRIVEN_MM] += driven", "car_domain_mm[c] += driven",
    ),
    Bug("twin/autonomy/kernels.py", "tally[group, ENGAGED_MM] += with_mm", "tally[group, ENGAGED_MM] += driven"),
    # cloud: bytes
    *_skipped(
        "twin/cloud/kernels.py",
        "generated_b[c] += size", "buffered_b[c] += size", "air[cell, s, GENERATED] += size", "delivered_b[c] += left",
        "buffered_b[c] -= left", "air[cell, s, DELIVERED] += part", "run_bytes[e] -= part",
    ),
    *_twice("twin/cloud/kernels.py", "delivered_b[c] += left"),
    *_skipped("twin/cloud/ingest.py", "self.received += count", "self.taken += self.messages[row]"),
    # updates
    *_skipped("twin/ota/kernels.py", "got_b[target] += give[i]", "downlink_b[c] += give[i]"),
    Bug("twin/ota/campaign.py", "self.cell_b += int(give.sum()) - on_wifi", "self.cell_b += int(give.sum()) // 1000"),
    # trips and states
    *_skipped("twin/trips.py", "self._next[cars] += 1"),
    Bug("twin/world.py", "fleet.state[rows] = State.PARKED", "fleet.state[rows] = State.DRIVING"),
]  # fmt: skip


def source_with(bug: Bug) -> str:
    """Source of the file with the bug in it; ValueError when the line is not there."""
    text = (ROOT / bug.file).read_text("utf-8")
    places = [m.start() for m in re.finditer(re.escape(bug.line) + r"(?=\s*(#.*)?$)", text, re.MULTILINE)]
    if len(places) < bug.nth:
        raise ValueError(f"{bug.file}: no line {bug.line!r}; the list of planted bugs must follow the program")
    at = places[bug.nth - 1]
    return text[:at] + bug.wrong + text[at + len(bug.line) :]


def trial(town: CityMap, file: str, source: str) -> list[str]:
    """What the ledgers and the laws say of a day with this source; ["stopped: …"] when it does not end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numbers that overflow in uncompiled kernels
        plant(file, ast.parse(source))
        try:
            twin = crowded(town, until_s=43_200, bev=0.5, epower=0.3)
            while not twin.world.done:
                twin.step()
            twin.world.finish()
            return open_ledgers(twin) + problems(twin)
        except Exception as error:
            return [f"stopped: {type(error).__name__}: {error} ({traceback.extract_tb(error.__traceback__)[-1].name})"]


def apart(town: CityMap, file: str, source: str, *, most_s: float = 120.0) -> list[str]:
    """The same in a child of this process."""

    def found() -> list[str]:
        signal.alarm(int(most_s))
        try:
            return trial(town, file, source)
        except BaseException as error:
            return [f"stopped: {error!r}"]

    answer = in_a_child(found)
    return ["stopped: it did not end"] if answer is None else list(answer)


def hunt(bugs: Iterable[Bug], say: Any = print) -> list[Bug]:
    """Plant bugs one by one; those that nothing has caught."""
    town = city()
    trial_town = crowded(town, until_s=3600)
    trial_town.step()  # kernels are compiled before the processes part
    bugs, missed = list(bugs), []
    for file in sorted({bug.file for bug in bugs}):
        found = apart(town, file, (ROOT / file).read_text("utf-8"))
        if found:
            raise AssertionError(f"{file} without a bug does not close: {found}")
    for bug in bugs:
        began = time.monotonic()
        found = apart(town, bug.file, source_with(bug))
        if not found:
            missed.append(bug)
        say(f"{'caught' if found else 'MISSED'} {bug.file}: {bug.line}  ->  {bug.wrong}")
        say(f"       {'; '.join(found)[:160]} ({time.monotonic() - began:.0f} s)")
    return missed


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--only", default="", help="bugs whose file holds this text")
    given = options.parse_args()
    chosen = [bug for bug in BUGS if given.only in bug.file]
    missed = hunt(chosen, lambda text: print(text, flush=True))
    print(f"{len(chosen) - len(missed)} of {len(chosen)} caught")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
