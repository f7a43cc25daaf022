"""Runs killed at random moments by the operating system; each goes on, and must end as one that nobody disturbed.

    python -m tests.kills --n 500                          # kill -9, again and again until a run gets through
    python -m tests.kills --signals 20 --scenario demo     # SIGINT and SIGTERM on a city: until it has ended

While a run writes, a reader looks at its folder all the time: what it can open must be whole. A kill may cost what
came after the last checkpoint and nothing else.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

from maps.network import CityMap
from maps.toy import toy_city
from runs import run
from runs.results import ResultsError, RunResult
from runs.scenario import Scenario
from tests.crash_points import EAGER, TOY
from twin.checkpoint_file import CheckpointError

ROOT = Path(__file__).resolve().parents[1]
MOST_S = 10.0
"""What a signal may take until the program has ended."""


@dataclass
class Found:
    """What came of it."""

    kills: int = 0
    runs: int = 0
    resumed: int = 0
    reads: int = 0
    wrong: list[str] = field(default_factory=list)


def digests(result: RunResult) -> dict[str, str]:
    return {name: about["digest"] for name, about in result.manifest["files"].items() if "digest" in about}


def kill_often(n: int, folder: Path, town: CityMap, *, seed: int = 0) -> Found:
    """Kill runs n times in all, each at a random moment of its life."""
    rng, found = random.Random(seed), Found()
    with patch.object(Scenario, "city", lambda self, say=None: town):
        began = time.monotonic()
        whole = digests(run(TOY, out=folder / "whole", checkpoint_s=EAGER))
        life_s = time.monotonic() - began
        while found.kills < n:
            place = folder / f"run-{found.runs}"
            place.mkdir()
            times = 0
            while _killed(place / "run", rng.uniform(0, 1.2 * life_s) if times < 5 else None, found):
                times += 1
                found.kills += 1
            _judge(place / "run", whole, times, found)
            shutil.rmtree(place)
    return found


def _killed(out: Path, after_s: float | None, found: Found) -> bool:
    """Start the run or go on with it, and end it after some seconds; whether the kill came before its end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # numba's threads are idle
        child = os.fork()
    if not child:
        code = 1
        try:
            code = 0 if run(TOY, out=out, checkpoint_s=EAGER, resume=True).status == "done" else 3
        except (CheckpointError, ResultsError) as error:
            print(f"{out}: {error}", file=sys.stderr)
        finally:
            os._exit(code)
    until = time.monotonic() + after_s if after_s is not None else float("inf")
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            if status:
                found.wrong.append(f"{out}: the run ended with {os.waitstatus_to_exitcode(status)}")
            return False
        if time.monotonic() >= until:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return True
        _look(out, found)
        time.sleep(0.002)


def _look(out: Path, found: Found) -> None:
    """What a reader sees beside the writer: nothing, or whole results."""
    found.reads += 1
    try:
        result = RunResult(out)
    except ResultsError:
        return
    if result.status == "done" and result.verify():
        found.wrong.append(f"{out}: a reader saw half of {result.verify()}")


def _judge(out: Path, whole: dict[str, str], times: int, found: Found) -> None:
    found.runs += 1
    try:
        result = RunResult(out)
    except ResultsError as error:
        found.wrong.append(str(error))
        return
    found.resumed += "resumed_s" in result.manifest and bool(result.manifest["resumed_s"])
    left = sorted(path.name for path in out.parent.iterdir() if path != out)
    if digests(result) != whole or result.status != "done" or result.verify() or left:
        found.wrong.append(f"run {found.runs}, killed {times} times: other results, or left behind {left}")


def signals(n: int, scenario: str, folder: Path, *, seed: int = 0) -> list[tuple[str, float, int]]:
    """Signal, seconds until the program had ended and its exit code, n times at random moments of a run."""
    rng, seen = random.Random(seed), []
    out = folder / "city"
    for i in range(n):
        given = (signal.SIGINT, signal.SIGTERM)[i % 2]
        command = [sys.executable, "-m", "runs.cli", "run", scenario, "--until", "14d", "--out", str(out), "--resume"]
        with subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL
        ) as child:
            while not list(folder.glob(".city.part/**/*")) and not out.exists() and child.poll() is None:
                time.sleep(0.05)
            time.sleep(rng.uniform(1.0, 6.0))
            began = time.monotonic()
            child.send_signal(given)
            code = child.wait()
            seen.append((given.name, time.monotonic() - began, code))
    return seen


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--n", type=int, default=100)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--signals", type=int, default=0)
    options.add_argument("--scenario", default="demo")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="kills-") as place:
        if given.signals:
            seen = signals(given.signals, given.scenario, Path(place), seed=given.seed)
            for name, seconds, code in seen:
                print(f"{name}: ended with {code} after {seconds:.2f} s")
            fine = all(s <= MOST_S and code == 128 + signal.Signals[name] for name, s, code in seen)
            print(f"slowest {max(s for _, s, _ in seen):.2f} s: {'fine' if fine else 'WRONG'}")
            return 0 if fine else 1
        found = kill_often(given.n, Path(place), toy_city(4, homes=60), seed=given.seed)
    print(
        f"{found.kills} kills, {found.runs} runs ended, {found.resumed} of them from a checkpoint; "
        f"{found.reads} looks by a reader; wrong: {found.wrong or 'nothing'}"
    )
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
