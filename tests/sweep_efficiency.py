"""What a sweep costs beyond its runs: processor time per run, speed-up of two processes, memory over many runs.

    python -m tests.sweep_efficiency --runs 40

Wall times with one and two workers alternate, in halves, so that a busy machine disturbs both alike.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from runs.sweeping.design import runs_of
from runs.sweeping.launcher import Launcher
from runs.sweeping.local import execute
from runs.sweeping.place import Place, task_of
from runs.sweeping.task import Task
from tests.sweep_cases import toy_sweep


def batch(folder: Path, runs: int) -> list[Task]:
    s = toy_sweep(
        folder, design={"replications": -(-runs // 4)}, base={"start": "2022-10-12T07:00:00", "fleet.cars": 400}
    )
    place = Place(folder / f"{time.monotonic_ns()}")
    return [task_of(place, s, f"run{i}", planned) for i, planned in enumerate(runs_of(s)[:runs])]


def memory_mb(pid: int) -> float:
    """Memory of a process that it shares with nobody, MB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def processor_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime + time.process_time()


def one_by_one(tasks: list[Task]) -> tuple[float, list[float]]:
    """Processor time of a nursery and its runs, and the nursery's memory after each run."""
    before, launcher, memory = processor_s(), Launcher(), []
    for task in tasks:
        launcher.start(task)
        while not launcher.ended(1.0):
            pass
        memory.append(memory_mb(launcher.pid))
    launcher.close()
    return processor_s() - before, memory


def measure(folder: Path, runs: int) -> dict[str, Any]:
    first, tasks = batch(folder, 1), batch(folder, runs)
    alone_s, _ = one_by_one(first)
    all_s, memory = one_by_one(tasks)
    own = [json.loads(Path(t.record).read_text())["cpu_s"] for t in tasks]
    own_first = json.loads(Path(first[0].record).read_text())["cpu_s"]
    beyond = (all_s - sum(own) - (alone_s - own_first)) / (runs - 1)
    wall = {1: 0.0, 2: 0.0}
    for _ in range(2):
        for workers in (1, 2):
            part = batch(folder, runs // 2)
            began = time.monotonic()
            execute(part, workers=workers)
            wall[workers] += time.monotonic() - began
    return {
        "runs": runs,
        "run_cpu_s": round(sum(own) / runs, 3),
        "beyond_ms": round(beyond * 1000, 1),
        "speed_up_of_2": round(wall[1] / wall[2], 2),
        "wall_s": {k: round(v, 1) for k, v in wall.items()},
        "memory_mb_after_run_2_half_last": [round(memory[i], 1) for i in (1, runs // 2, runs - 1)],
        "load": os.getloadavg()[0],
    }


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--runs", type=int, default=40)
    with tempfile.TemporaryDirectory(prefix="twin-efficiency-") as place:
        print(json.dumps(measure(Path(place), options.parse_args().runs)))
