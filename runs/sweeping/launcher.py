"""The driver's end of a nursery: starts it, sends tasks, hears how they ended, starts another when it was killed."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from runs.sweeping.task import Task

READY_S = 300.0
"""How long a nursery may take to compile every kernel on a machine that has none in its cache."""


class WorkersError(OSError):
    """No process can be started for runs; one line."""

    def __str__(self) -> str:
        return str(self.args[0])


class Launcher:
    """One nursery. Not a pool: who calls says how many runs are at work at a time.

    Raises
    ------
    WorkersError
        When no nursery gets ready.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._waiting = b""
        self.running: dict[str, int] = {}
        self.pid = self.threads = 0

    def start(self, task: Task) -> None:
        """Start a run; `ended` tells of its end."""
        if self._process is None:
            self._open()
        self.running[task.key] = 0
        self._send(task.to_line())

    def ended(self, timeout_s: float) -> list[tuple[str, int | None]]:
        """Runs that ended since the last call, with exit code (None: the nursery was lost); waits up to a time."""
        if self._process is None:
            return []
        found: list[tuple[str, int | None]] = []
        until = time.monotonic() + timeout_s
        while not found:
            line = self._line(max(0.0, until - time.monotonic()))
            if line is None:
                break
            if not line:
                found = [(key, None) for key in self.running]
                self.running.clear()
                self._drop()
                break
            if "started" in line:
                self.running[line["started"]] = line["pid"]
            elif "ended" in line and self.running.pop(line["ended"], None) is not None:
                found.append((line["ended"], line["code"]))
        return found

    def signal(self, signum: int, key: str = "") -> None:
        """Send a signal to one run, or to all."""
        if self._process is not None:
            self._send(json.dumps({"signal": signum, "key": key}))

    def close(self, grace_s: float = 20.0) -> None:
        """End the nursery; runs that are at work save a checkpoint first."""
        process = self._process
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._drop()

    def _open(self) -> None:
        here = str(Path(__file__).resolve().parents[2])
        paths = [here, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        alone = dict.fromkeys(("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        alone["JE_ARROW_MALLOC_CONF"] = "background_thread:false"  # a process that forks has one thread
        for _ in range(3):
            self._process = subprocess.Popen(
                [sys.executable, "-m", "runs.sweeping.nursery"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, **alone, "PYTHONPATH": os.pathsep.join(paths)},
                start_new_session=True,  # Ctrl-C reaches the driver only
            )
            self._waiting = b""
            line = self._line(READY_S)
            if line and "ready" in line:
                self.pid, self.threads = int(line["ready"]), int(line["threads"])
                return
            self._drop()
        raise WorkersError("no process for runs gets ready (three tries); twin doctor says what is missing")

    def _drop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    try:
                        pipe.close()
                    except BrokenPipeError:
                        continue
        self._process = None

    def _send(self, text: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(text.encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return  # it was killed: `ended` reads the end of its answers and tells

    def _line(self, timeout_s: float) -> dict[str, Any] | None:
        """Next answer; {} at the end of all, None when there is none in time."""
        assert self._process is not None
        assert self._process.stdout is not None
        out = self._process.stdout.fileno()
        until = time.monotonic() + timeout_s
        while b"\n" not in self._waiting:
            if not select.select([out], [], [], max(0.0, until - time.monotonic()))[0]:
                return None
            more = os.read(out, 1 << 16)
            if not more:
                return {}
            self._waiting += more
        line, _, self._waiting = self._waiting.partition(b"\n")
        said: dict[str, Any] = json.loads(line)
        return said


def stop(launcher: Launcher) -> None:
    """Ask all runs to save a checkpoint and end."""
    launcher.signal(signal.SIGTERM)
