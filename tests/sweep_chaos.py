"""A sweep whose processes are killed at random while it runs, held against the same sweep left in peace.

    python -m tests.sweep_chaos --runs 200                       # local: 30 % of runs killed
    python -m tests.sweep_chaos --runs 200 --executor dask       # and Dask's workers
    python -m tests.sweep_chaos --runs 60 --drivers 3            # the driver (and its scheduler) killed three times

Prints what was killed and exits with 1 when a run is missing, was repeated after it was done, or has other tables.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.sweep_cases import toy_map

ROOT = Path(__file__).resolve().parents[1]


def write_sweep(folder: Path, runs: int) -> Path:
    """A sweep file of so many runs (a multiple of 4)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "toy.toml").write_text(f'name = "toy"\nmap = "{toy_map(folder)}"\nuntil = "2h"\n[fleet]\ncars = 40\n')
    file = folder / "chaos.toml"
    file.write_text(
        f"""name = "chaos"
scenario = "toy.toml"
[base]
start = 2022-10-12T07:00:00
[design]
kind = "grid"
replications = {runs // 4}
[[factor]]
key = "fleet.bev"
values = [0.3, 0.6]
[[factor]]
key = "climate.ambient_c"
values = [-5.0, 20.0]
[run]
attempts = 30
[answers]
figures = ["fleet.driving_km", "grid.energy_kwh"]
"""
    )
    return file


def command(file: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "runs.cli", "sweep", str(file), "--out", str(out), "--json", *more]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}


def tables(out: Path) -> dict[str, Any]:
    """Digests of all tables and figures of every run."""
    found = {}
    for path in (out / "records").glob("*.json"):
        record = json.loads(path.read_text())
        found[path.stem] = (record["tables"], record["figures"], record["seed"], record["about"])
    return found


class Chaos(threading.Thread):
    """Kills descendants of a driver: of the runs a share, each decided once; of Dask's workers now and then."""

    def __init__(self, root: int, share: float, seed: int, *, workers: bool) -> None:
        super().__init__(daemon=True)
        self.root, self.share, self.dice, self.workers = root, share, random.Random(seed), workers
        self.seen: dict[int, float] = {}
        self.how: Counter[str] = Counter()
        self.runs = 0
        self.over = threading.Event()

    def run(self) -> None:
        next_worker = time.monotonic() + 6
        while not self.over.wait(0.005):
            family = _descendants(self.root)
            nurseries = {p for p, (_, line) in family.items() if "runs.sweeping.nursery" in line}
            for pid, (parent, _) in family.items():
                if parent in nurseries and pid not in self.seen:
                    self.runs += 1
                    doomed = self.dice.random() < self.share
                    self.seen[pid] = time.monotonic() + self.dice.uniform(0.0, 0.5) if doomed else float("inf")
            for pid, at in list(self.seen.items()):
                if at <= time.monotonic():
                    self.seen[pid] = float("inf")
                    if pid in family:
                        self.kill(pid, self.dice.choice(["SIGKILL", "SIGSEGV", "memory"]))
            if self.workers and nurseries and time.monotonic() > next_worker:
                next_worker = time.monotonic() + self.dice.uniform(3, 8)
                victim = family[self.dice.choice(sorted(nurseries))][0]
                if victim != self.root:
                    self.kill(victim, "SIGKILL", what="worker ")

    def kill(self, pid: int, how: str, *, what: str = "") -> None:
        try:
            if how == "memory":
                resource.prlimit(pid, resource.RLIMIT_AS, (50_000_000, 50_000_000))  # every allocation fails from here
            else:
                os.kill(pid, getattr(signal, how))
        except ProcessLookupError:
            return
        self.how[what + how] += 1


def _descendants(root: int) -> dict[int, tuple[int, str]]:
    parents: dict[int, tuple[int, str]] = {}
    for entry in (path.name for path in Path("/proc").iterdir()):
        if entry.isdigit():
            try:
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                line = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if fields[0] != "Z":
                parents[int(entry)] = (int(fields[1]), line)
    found: dict[int, tuple[int, str]] = {}
    layer = {root}
    while layer:
        inner = {pid: about for pid, about in parents.items() if about[0] in layer and pid not in found}
        # a forked run has its nursery's command line: it is no nursery itself
        for pid, (parent, line) in inner.items():
            own = "" if parent in found and found[parent][1] == line else line
            found[pid] = (parent, own)
        layer = set(inner)
    return found


def attempt(
    file: Path, out: Path, more: list[str], *, share: float, seed: int, dies_at: int | None, workers: bool
) -> tuple[int, Chaos]:
    """Run the driver once under chaos; it dies itself when so many runs are done."""
    with tempfile.TemporaryFile() as shown:
        driver = subprocess.Popen(
            command(file, out, *more), cwd=ROOT, env=environment(), stdout=shown, stderr=subprocess.STDOUT
        )
        chaos = Chaos(driver.pid, share, seed, workers=workers)
        chaos.start()
        while driver.poll() is None:
            time.sleep(0.02)
            if dies_at is not None and len(list((out / "records").glob("*.json"))) >= dies_at:
                driver.kill()
        code = driver.wait()
        chaos.over.set()
        chaos.join()
        if code not in (0, -9):
            shown.seek(0)
            raise AssertionError(f"exit {code}: {shown.read().decode()[-3000:]}")
    return code, chaos


def trial(folder: Path, *, runs: int, executor: str, share: float, drivers: int, seed: int) -> dict[str, Any]:
    """The whole comparison; AssertionError when something was lost, repeated or changed."""
    file = write_sweep(folder, runs)
    calm, wild = folder / "calm", folder / "wild"
    began = time.monotonic()
    subprocess.run(command(file, calm, "--workers", "1", "--quiet"), cwd=ROOT, env=environment(), check=True, stdout=-3)
    calm_s = time.monotonic() - began
    dice, killed, started, driver_deaths = random.Random(seed), Counter[str](), 0, 0
    ended: dict[str, str] = {}
    began = time.monotonic()
    for turn in range(drivers + 1):
        dies = int(runs * (turn + dice.uniform(0.3, 0.9)) / (drivers + 1)) if turn < drivers else None
        code, chaos = attempt(
            file,
            out=wild,
            more=["--executor", executor, "--workers", "2"],
            share=share,
            seed=seed + turn,
            dies_at=dies,
            workers=executor == "dask",
        )
        killed, started, driver_deaths = killed + chaos.how, started + chaos.runs, driver_deaths + (code == -9)
        for path in (wild / "records").glob("*.json"):
            now = json.loads(path.read_text())["ended_utc"]
            assert ended.setdefault(path.stem, now) == now, f"{path.stem} was done and was run again"
    one, two = tables(calm), tables(wild)
    assert len(two) == runs, f"{len(two)} of {runs} done"
    assert one == two, f"{sum(one[k] != two.get(k) for k in one)} runs differ from those left in peace"
    return {
        "runs": runs,
        "processes": started,
        "killed": dict(killed),
        "drivers_killed": driver_deaths,
        "calm_s": round(calm_s, 1),
        "wild_s": round(time.monotonic() - began, 1),
    }


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--runs", type=int, default=200)
    options.add_argument("--executor", default="local")
    options.add_argument("--share", type=float, default=0.3)
    options.add_argument("--drivers", type=int, default=0)
    options.add_argument("--seed", type=int, default=1)
    with tempfile.TemporaryDirectory(prefix="twin-chaos-") as place:
        print(json.dumps(trial(Path(place), **vars(options.parse_args()))))
