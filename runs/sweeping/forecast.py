"""What a sweep would take: time, memory and disk from small runs that are measured, and the scripts of a cluster."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runs.machine import free_memory_mb
from runs.progress import duration
from runs.scenario import Scenario
from runs.sweeping.design import PlannedRun, runs_of
from runs.sweeping.keys import Keys
from runs.sweeping.local import execute
from runs.sweeping.place import Place, task_of
from runs.sweeping.records import read_record
from runs.sweeping.sweep_file import Slurm, Sweep, SweepError

SMALL_CARS = (60, 240)
"""Cars of the two measured runs; a straight line through them is drawn on."""


@dataclass(frozen=True)
class Forecast:
    """What `twin sweep --dry-run` found.

    Times in seconds, memory in MB, disk in bytes; `seconds` adds up all runs, `wall_s` is with so many processes.
    """

    name: str
    path: str
    points: int
    replications: int
    runs: int
    measured: list[dict[str, Any]]
    seconds: float
    longest_s: float
    wall_s: float
    workers: int
    memory_mb: float
    free_memory_mb: float | None
    disk_bytes: float
    free_disk_bytes: int
    over: list[str]
    """What the budget or the machine does not allow."""
    script: str
    """Array job for SLURM."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def lines(self) -> Iterator[str]:
        """The forecast in words."""
        yield f"{self.name}: {self.runs:,} runs, {self.points:,} points with {self.replications:,} replications"
        for row in self.measured:
            yield (
                f"  measured         {row['scenario']}, {row['cars']:,} cars: {duration(row['seconds'])}, "
                f"{row['memory_mb']:,.0f} MB, {row['disk_bytes'] / 1e6:.2f} MB on disk"
            )
        added = duration(self.seconds)
        yield f"  time             about {duration(self.wall_s)} with {self.workers} at a time ({added} in all)"
        yield f"  longest run      about {duration(self.longest_s)}"
        free = f" of {self.free_memory_mb:,.0f} MB free" if self.free_memory_mb is not None else ""
        yield f"  memory           about {self.memory_mb * self.workers:,.0f} MB, {self.memory_mb:,.0f} a process{free}"
        yield f"  disk             about {self.disk_bytes / 1e6:,.1f} MB of {self.free_disk_bytes / 1e6:,.0f} MB free"
        for line in self.over:
            yield f"  NOT POSSIBLE     {line}"


def forecast(
    sweep: Sweep, *, path: Path, workers: int, file: str = "", say: Callable[[str], None] = lambda _text: None
) -> Forecast:
    """Measure two small runs per map and draw a line through them.

    Parameters
    ----------
    sweep : Sweep
    path : Path
        Where the sweep would go.
    workers : int
    file : str
        The sweep file as the command names it, for the script.

    Raises
    ------
    SweepError
        When a small run fails.
    """
    planned = runs_of(sweep)
    by_map: dict[tuple[str, int], list[PlannedRun]] = {}
    for run in planned:
        by_map.setdefault((run.scenario.map, run.scenario.until_s), []).append(run)
    measured: list[dict[str, Any]] = []
    seconds, memory, disk, longest = 0.0, 0.0, 0.0, 0.0
    with tempfile.TemporaryDirectory(prefix="twin-forecast-") as folder:
        for (source, _), runs in by_map.items():
            say(f"measuring small runs of {source}")
            two = _measure(sweep, runs[0], Place(Path(folder)))
            measured += two
            for run in runs:
                s, m, d = (_at(two, what, run.scenario.fleet.cars) for what in ("seconds", "memory_mb", "kept_bytes"))
                seconds, memory, disk, longest = seconds + s, max(memory, m), disk + d, max(longest, s)
    existing = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
    free_disk, free_memory = shutil.disk_usage(existing).free, free_memory_mb()
    wall_s = max(longest, seconds / workers)
    over = _over(sweep, len(planned), seconds, disk, free_disk, memory * workers, free_memory)
    points = len({run.point.number for run in planned})
    return Forecast(
        name=sweep.name,
        path=str(path),
        points=points,
        replications=sweep.design.replications,
        runs=len(planned),
        measured=measured,
        seconds=seconds,
        longest_s=longest,
        wall_s=wall_s,
        workers=workers,
        memory_mb=memory,
        free_memory_mb=free_memory,
        disk_bytes=disk,
        free_disk_bytes=free_disk,
        over=over,
        script=array_script(sweep, file or f"{sweep.name}.toml", path, parts=min(len(planned), sweep.slurm.jobs)),
    )


def _measure(sweep: Sweep, run: PlannedRun, place: Place) -> list[dict[str, Any]]:
    found = []
    keys = Keys()
    for cars in sorted({min(n, run.scenario.fleet.cars) for n in SMALL_CARS}):
        scenario: Scenario = run.scenario.but(fleet__cars=cars)
        key = keys.of(scenario)
        task = task_of(place, sweep, key, PlannedRun(run.point, run.replication, scenario))
        outcome = execute([task], workers=1, attempts=2)[key]
        record = read_record(Path(task.record), key)
        if record is None:
            raise SweepError(f"{sweep.name}: a small run for the forecast {outcome.state}: {outcome.reason}")
        record_b = Path(task.record).stat().st_size
        found.append(
            {
                "scenario": run.scenario.map,
                "cars": cars,
                "seconds": record["seconds"]["total"] + record["seconds"].get("write", 0.0),
                "memory_mb": record["peak_memory_mb"],
                "disk_bytes": record["disk_bytes"],
                "kept_bytes": record_b + (record["disk_bytes"] if sweep.run.keep == "tables" else 0),
            }
        )
    return found


def _at(two: Sequence[dict[str, Any]], what: str, cars: int) -> float:
    """The line through two measured runs, never below the larger one for more cars."""
    first, last = two[0], two[-1]
    if last["cars"] == first["cars"] or cars <= first["cars"]:
        return float(first[what])
    slope = max(0.0, (last[what] - first[what]) / (last["cars"] - first["cars"]))
    return float(max(first[what], last[what] + slope * (cars - last["cars"])))


def _over(
    sweep: Sweep, n: int, seconds: float, disk: float, free_disk: int, memory: float, free_memory: float | None
) -> list[str]:
    budget, over = sweep.budget, []
    if budget.runs is not None and n > budget.runs:
        over.append(f"{n:,} runs, budget.runs is {budget.runs:,}")
    if budget.hours is not None and seconds > budget.hours * 3600:
        over.append(f"{seconds / 3600:.2g} hours of runs, budget.hours is {budget.hours:g}")
    if budget.disk_gb is not None and disk > budget.disk_gb * 1e9:
        over.append(f"{disk / 1e9:.2g} GB of disk, budget.disk_gb is {budget.disk_gb:g}")
    if disk > free_disk:
        over.append(f"{disk / 1e9:.2g} GB of disk, {free_disk / 1e9:.2g} GB are free")
    if free_memory is not None and memory > free_memory:
        over.append(f"{memory:,.0f} MB of memory, {free_memory:,.0f} MB are free: fewer --workers")
    return over


def array_script(sweep: Sweep, file: str, path: Path, *, parts: int) -> str:
    """A SLURM array job: each part runs its share.

    A minute before the walltime ends, runs save checkpoints and the part is queued again.
    """
    slurm, threads = sweep.slurm, sweep.run.threads
    named = str(Path(file).absolute()) if Path(file).exists() else file
    command = [sys.executable, "-m", "runs.cli", "sweep", named, "--out", str(path.absolute()), "--workers", "1"]
    lines = [
        "#!/bin/bash",
        *(f"#SBATCH {text}" for text in directives(slurm, sweep.name)),
        f"#SBATCH --array=1-{parts}",
        f"#SBATCH --cpus-per-task={threads}",
        f"#SBATCH --mem={slurm.memory}",
        f"#SBATCH --time={slurm.walltime}",
        "#SBATCH --requeue",
        "#SBATCH --signal=B:TERM@60",
        "#SBATCH --output=%x-%A_%a.out",
        "#SBATCH --open-mode=append",
        *slurm.prologue,
        *([f"export PYTHONPATH={shlex.quote(paths)}"] if (paths := os.environ.get("PYTHONPATH", "")) else []),
        f"{shlex.join(command)} --shard $SLURM_ARRAY_TASK_ID/{parts} &",
        "part=$!",
        "again() { scontrol requeue ${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}; exit 143; }",
        "trap 'kill -TERM $part; wait $part; again' TERM",
        "wait $part",
    ]
    return "\n".join(lines) + "\n"


def directives(slurm: Slurm, name: str) -> list[str]:
    """Lines for sbatch that both ways of using SLURM share."""
    found = [f"--job-name=twin-{name}"]
    found += [f"--partition={slurm.queue}"] if slurm.queue else []
    found += [f"--account={slurm.account}"] if slurm.account else []
    return found + list(slurm.extra)
