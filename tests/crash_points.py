"""Every crash point of the writer: end the run at its n-th open, write, fsync or rename, then let it go on.

In the mode "kill" the process ends there and then, as by SIGKILL; in the mode "error" the call fails (no space left).
Afterwards `--resume` must give the results of the run that nothing happened to, or refuse in one line.

    python -m tests.crash_points            # all points, both modes (minutes)
    python -m tests.crash_points --every 7  # a sample
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from maps.network import CityMap
from maps.toy import toy_city
from runs import run
from runs.folder import DiskError
from runs.results import ResultsError, RunResult
from runs.scenario import Scenario
from twin.checkpoint_file import CheckpointError
from twin.model import Twin

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
PASSED, CRASHED, REFUSED, WRONG = 0, 9, 3, 4


@dataclass
class Found:
    """What came of the points tried."""

    tried: int = 0
    resumed: int = 0
    refused: int = 0
    modes: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


class Shim:
    """Counts the calls of the writer and ends the run at one of them."""

    def __init__(self, fail_at: int, mode: str, inside: Path) -> None:
        self.left, self.mode, self.inside = fail_at, mode, str(inside)
        opened, fsync, rename, replace = io.open, os.fsync, os.rename, os.replace
        shim = self

        def watched(file: Any, mode: str = "r", *more: Any, **named: Any) -> Any:
            mine = isinstance(file, str | os.PathLike) and str(file).startswith(shim.inside) and set(mode) & set("wax")
            if mine:
                shim.step("open")
            out = opened(file, mode, *more, **named)
            return Watched(out, shim) if mine and "b" in mode and not str(file).endswith("lock") else out

        self.patches: list[tuple[Any, str, Any]] = [
            (io, "open", watched),
            (os, "fsync", lambda handle: (shim.step("fsync"), fsync(handle))[1]),
            (os, "rename", lambda a, b, **k: (shim.step("rename"), rename(a, b, **k))[1]),
            (os, "replace", lambda a, b, **k: (shim.step("replace"), replace(a, b, **k))[1]),
        ]

    def install(self) -> None:
        for where, name, by in self.patches:
            setattr(where, name, by)

    def step(self, what: str) -> None:
        self.left -= 1
        if self.left != 0:
            return
        if self.mode == "kill":
            os._exit(CRASHED)
        raise OSError(28, f"No space left on device ({what})")


class Watched:
    """A file whose writes count; half of the piece is written when one crashes."""

    def __init__(self, file: IO[bytes], shim: Shim) -> None:
        self._file, self._shim = file, shim

    def write(self, piece: Any) -> int:
        if self._shim.left == 1:
            self._file.write(memoryview(piece)[: len(piece) // 2])
            self._file.flush()
        self._shim.step("write")
        return self._file.write(piece)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> Any:
        return iter(self._file)


def try_points(town: CityMap, folder: Path, *, every: int = 1, say: Callable[[str], None] | None = None) -> Found:
    """Crash at every `every`-th point in both modes until a run passes; go on each time."""
    twins = {"fresh": _build(town)}
    Scenario.city, city = (lambda self, say=None: town), Scenario.city  # type: ignore[method-assign,assignment]
    Scenario.build_on, build_on = (lambda self, on: twins["fresh"]), Scenario.build_on  # type: ignore[method-assign,assignment]
    try:
        whole = folder / "whole"
        code = _child(lambda: _finish(whole, None))
        assert code == PASSED, code
        found = Found()
        for mode in ("kill", "error"):
            found.modes.append(mode)
            n = 1 + (every // 2 if mode == "error" else 0)
            while True:
                place = folder / f"{mode}-{n}"
                place.mkdir()
                code = _child(lambda n=n, mode=mode, place=place: _crash(place, n, mode))
                after = _child(lambda place=place: _finish(place / "run", whole))
                found.tried += 1
                found.resumed += after == PASSED
                found.refused += after == REFUSED
                if code not in {PASSED, CRASHED, REFUSED} or after not in {PASSED, REFUSED}:
                    found.wrong.append(f"{mode} at {n}: crash {code}, then {after}")
                if say is not None:
                    say(f"{mode:<5} {n:>4}: {code} then {after}")
                if code == PASSED:
                    break
                n += every
        return found
    finally:
        Scenario.city, Scenario.build_on = city, build_on  # type: ignore[method-assign]


def _build(town: CityMap) -> Twin:
    return TOY.build_on(town)


def _child(work: Callable[[], int]) -> int:
    """Run in a copy of this process; its exit code."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = work()
        except BaseException as error:  # noqa: BLE001 - the child must end here whatever happens
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _crash(place: Path, n: int, mode: str) -> int:
    Shim(n, mode, place).install()
    try:
        run(TOY, out=place / "run", checkpoint_s=EAGER)
    except DiskError as error:
        return CRASHED if "\n" not in str(error) else WRONG
    return PASSED


def _finish(target: Path, whole: Path | None) -> int:
    try:
        result = run(TOY, out=target, resume=True)
    except (CheckpointError, ResultsError) as error:
        print(error, file=sys.stderr)
        return REFUSED
    if whole is None:
        return PASSED
    ours, theirs = (
        {n: f["digest"] for n, f in r.manifest["files"].items() if "digest" in f} for r in (result, RunResult(whole))
    )
    fine = ours == theirs and len(ours) >= 11 and result.verify() == [] and result.status == "done"
    return PASSED if fine else WRONG


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
