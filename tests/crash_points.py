"""Every crash point of the writer: end a run at its n-th open, write, fsync or rename, then let it go on.

In the mode "kill" the disk is copied as it is at that point, which is what SIGKILL leaves (half of a piece that is
being written included). In the mode "error" the call fails for want of space, and the run must end in one line.
Afterwards `--resume` must give the results of the run that nothing happened to.

    python -m tests.crash_points            # all points, both modes (minutes)
    python -m tests.crash_points --every 7  # a sample
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self
from unittest.mock import patch

from maps.network import CityMap
from maps.toy import toy_city
from runs import run
from runs.folder import DiskError
from runs.results import ResultsError, RunResult
from runs.scenario import Scenario
from tests.checkpoint_cases import Reused
from twin.checkpoint_file import CheckpointError

TOY = Scenario(name="toy", map="toy").but(
    fleet__cars=20,
    fleet__bev=0.7,
    fleet__epower=0.2,
    traffic__tick_s=900,
    until="1h",
    ota__start_h=0,
    ota__package_mb=5,
)
EAGER = 1e-9


@dataclass
class Found:
    """What came of the points tried."""

    tried: int = 0
    resumed: int = 0
    refused: int = 0
    wrong: list[str] = field(default_factory=list)


class Shim:
    """Counts the writer's calls on files inside a folder and does something at some of them.

    The many small writes of one Parquet file count as one.
    """

    def __init__(self, inside: Path, at_point: Callable[[int, str], None]) -> None:
        self.inside, self.at_point, self.count = str(inside), at_point, 0
        self._open, self._fsync, self._rename, self._replace = io.open, os.fsync, os.rename, os.replace

    def __enter__(self) -> Self:
        self._patches = [
            patch.object(io, "open", self.open),
            patch.object(os, "fsync", lambda handle: (self.step("fsync"), self._fsync(handle))[1]),
            patch.object(os, "rename", lambda a, b, **k: (self.step("rename"), self._rename(a, b, **k))[1]),
            patch.object(os, "replace", lambda a, b, **k: (self.step("rename"), self._replace(a, b, **k))[1]),
        ]
        for one in self._patches:
            one.start()
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._patches:
            one.stop()

    def step(self, what: str) -> None:
        self.count += 1
        self.at_point(self.count, what)

    def open(self, file: Any, mode: str = "r", *more: Any, **named: Any) -> Any:
        name = str(file)
        if not (isinstance(file, str | os.PathLike) and name.startswith(self.inside) and set(mode) & set("wax")):
            return self._open(file, mode, *more, **named)
        self.step("open")
        out = self._open(file, mode, *more, **named)
        return Watched(out, self, once="parquet" in name) if "b" in mode and not name.endswith("lock") else out


class Watched:
    """A file whose writes count; at the point, half of the piece is on the disk."""

    def __init__(self, file: IO[bytes], shim: Shim, *, once: bool) -> None:
        self._file, self._shim, self._once, self._wrote = file, shim, once, False

    def write(self, piece: Any) -> int:
        view = memoryview(piece).cast("B")
        if self._once and self._wrote:
            return self._file.write(view)
        self._wrote = True
        half = len(view) // 2
        self._file.write(view[:half])
        self._file.flush()
        self._shim.step("write")
        return half + self._file.write(view[half:])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def try_points(town: CityMap, folder: Path, *, every: int = 1, say: Callable[[str], None] = lambda text: None) -> Found:
    """Crash at every `every`-th point in both modes, and go on each time."""
    fresh = Reused(TOY.build_on(town))
    found = Found()
    with (
        patch.object(Scenario, "city", lambda self, say=None: town),
        patch.object(Scenario, "build_on", lambda self, on: fresh()),
    ):
        killed: list[tuple[str, Path]] = []

        def keep(n: int, what: str) -> None:
            if n % every == 0:
                killed.append((f"kill at {n} ({what})", folder / f"kill-{n}"))
                shutil.copytree(folder / "place", killed[-1][1])

        (folder / "place").mkdir()
        with Shim(folder / "place", keep) as shim:
            whole = run(TOY, out=folder / "place" / "run", checkpoint_s=EAGER)
        for name, place in killed:
            say(_judge(name, place, whole, found))
            shutil.rmtree(place)
        for n in range(1 + every // 2, shim.count + 1, every):
            say(_fail(n, folder / f"error-{n}", whole, found))
    return found


def _fail(n: int, place: Path, whole: RunResult, found: Found) -> str:
    """A call fails; the run ends with a line, or does without what failed."""

    def full(at: int, what: str) -> None:
        if at == n:
            raise OSError(28, f"No space left on device ({what})")

    place.mkdir()
    try:
        with Shim(place, full):
            run(TOY, out=place / "run", checkpoint_s=EAGER)
        ended = "done"
    except DiskError as error:
        ended = "one line" if "\n" not in str(error) and "No space left" in str(error) else "WRONG"
    except Exception as error:
        ended = f"WRONG {type(error).__name__}: {error}"
    if ended.startswith("WRONG"):
        found.wrong.append(f"error at {n}: {ended}")
    said = _judge(f"error at {n}, {ended}", place, whole, found)
    shutil.rmtree(place)
    return said


def _judge(name: str, place: Path, whole: RunResult, found: Found) -> str:
    """Let the run in `place` go on and compare."""
    found.tried += 1
    try:
        result = run(TOY, out=place / "run", resume=True)
    except (CheckpointError, ResultsError) as error:
        found.refused += 1
        return f"{name}: refused: {error}"
    ours, theirs = ({n: f["digest"] for n, f in r.manifest["files"].items() if "digest" in f} for r in (result, whole))
    fine = ours == theirs and len(ours) >= 11 and result.verify() == [] and result.status == "done"
    left = sorted(p.name for p in place.iterdir() if p.name != "run")
    if fine and not left:
        found.resumed += 1
        return f"{name}: went on from {result.manifest['resumed_s']}"
    found.wrong.append(f"{name}: other results, or left behind {left}")
    return found.wrong[-1]


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--every", type=int, default=1)
    every = options.parse_args().every
    with tempfile.TemporaryDirectory() as folder:
        found = try_points(toy_city(4, homes=60), Path(folder), every=every, say=print)
    print(f"{found.tried} points: {found.resumed} went on to the same results, {found.refused} refused, {found.wrong}")
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
