"""A process that has everything imported and every kernel loaded, and forks one child per run.

A fresh Python needs two to three seconds of processor time before its first tick; a child of this process needs
milliseconds, shares kernels and maps with its siblings as pages that nobody writes, and takes its memory with it when
it ends. It has one thread, which is what makes forking safe. It reads tasks as lines of JSON from stdin, answers with
lines on stdout, and ends with its children when stdin is closed.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import json
import os
import resource
import select
import signal
import sys
import time
import tomllib
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from maps.network import CityMap

GRACE_S = 15.0
"""What children get to save a checkpoint when everything ends."""
MOST_MAPS = 4
_PDEATHSIG = 1


def main() -> None:
    """Serve until stdin is closed."""
    reply = os.dup(1)
    os.dup2(2, 1)  # nothing that prints gets between the answers
    os.environ["NUMBA_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides what Ctrl-C means
    signal.signal(signal.SIGTERM, _end)
    _warm_up()
    wake, ring = os.pipe()
    for end in (wake, ring):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda _signum, _frame: None)
    signal.set_wakeup_fd(ring, warn_on_full_buffer=False)
    _Nursery(reply, wake).serve()


class _End(Exception):  # noqa: N818 - what happens
    pass


def _end(_signum: int, _frame: object) -> NoReturn:
    raise _End


class _Nursery:
    """Children by process id, and the maps they share."""

    def __init__(self, reply: int, wake: int) -> None:
        self.reply, self.wake = reply, wake
        self.children: dict[int, str] = {}
        self.maps: dict[str, CityMap] = {}

    def serve(self) -> None:
        waiting = b""
        try:
            self.say({"ready": os.getpid(), "threads": len(list(Path("/proc/self/task").iterdir()))})
            while True:
                ready, _, _ = select.select([0, self.wake], [], [], 1.0)
                if self.wake in ready:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self.wake, 4096)
                self.reap()
                if 0 in ready:
                    more = os.read(0, 1 << 16)
                    if not more:
                        break
                    *lines, waiting = (waiting + more).split(b"\n")
                    for line in lines:
                        self.obey(line)
        except (_End, BrokenPipeError):
            pass
        self.close()

    def obey(self, line: bytes) -> None:
        said = json.loads(line)
        if "signal" in said:
            for pid, key in self.children.items():
                if said["key"] in ("", key):
                    os.kill(pid, said["signal"])
            return
        from runs.sweeping.task import Task

        task = Task.from_line(line)
        city = self.map_of(task.scenario)
        gc.collect()
        gc.freeze()  # the collector of a child leaves shared pages alone
        pid = os.fork()
        if pid == 0:
            _child(task, city, close=(self.reply, self.wake))
        self.children[pid] = task.key
        self.say({"started": task.key, "pid": pid})

    def map_of(self, scenario: str) -> CityMap | None:
        """The map of a scenario, kept for its siblings; None leaves it, and its error, to the child."""
        from maps.build import build_map

        name = str(tomllib.loads(scenario)["map"])
        if name not in self.maps:
            while len(self.maps) >= MOST_MAPS:
                del self.maps[next(iter(self.maps))]
            try:
                self.maps[name] = build_map(name)
            except Exception:  # noqa: BLE001 - the child meets the same error and tells
                return None
        return self.maps[name]

    def reap(self) -> None:
        for pid in list(self.children):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                self.say({"ended": self.children.pop(pid), "code": os.waitstatus_to_exitcode(status)})

    def say(self, content: dict[str, Any]) -> None:
        os.write(self.reply, json.dumps(content).encode() + b"\n")

    def close(self) -> None:
        """Children save their checkpoints, then everything ends."""
        until = time.monotonic() + GRACE_S
        for pid in self.children:
            os.kill(pid, signal.SIGTERM)
        with contextlib.suppress(OSError):
            while self.children and time.monotonic() < until:
                self.reap()
                time.sleep(0.02)
        for pid in self.children:
            os.kill(pid, signal.SIGKILL)


def _child(task: Any, city: CityMap | None, *, close: tuple[int, ...]) -> NoReturn:
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        parent = os.getppid()
        _dies_with_parent()
        for fd in close:
            os.close(fd)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        why = Path(task.why)
        why.parent.mkdir(parents=True, exist_ok=True)
        err = why.with_suffix(".err")
        shown = os.open(err, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(shown, 1)
        os.dup2(shown, 2)
        faulthandler.enable(shown)
        with contextlib.suppress(OSError):  # when memory runs out, the kernel takes a run and not the driver
            Path("/proc/self/oom_score_adj").write_text("500")
        if task.memory_mb:
            most = task.memory_mb * 1_000_000
            resource.setrlimit(resource.RLIMIT_DATA, (most, most))
        if task.threads > 1:
            os.environ["OMP_NUM_THREADS"] = str(task.threads)
        from runs.sweeping.worker import perform

        if os.getppid() == parent:
            code = perform(task, city)
        sys.stdout.flush()
        sys.stderr.flush()
        if err.stat().st_size == 0 or code == 0:
            err.unlink(missing_ok=True)
    except BaseException:  # noqa: BLE001 - nothing may return into the nursery's loop
        with contextlib.suppress(BaseException):  # without memory, not even this
            traceback.print_exc()
    finally:
        os._exit(code)


def _dies_with_parent() -> None:
    """SIGTERM, so a checkpoint, when the nursery is killed (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)


def _warm_up() -> None:
    """Import what a run imports, and let a toy city live for an hour so that every kernel is loaded."""
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    import runs.checkpoints
    import runs.estimates
    import runs.geometry
    import runs.machine
    import runs.single
    import runs.sweeping.records
    import runs.sweeping.worker
    from maps.toy import toy_city
    from runs.columns import to_arrow
    from runs.scenario import Scenario

    runs.machine.versions()
    twin = (
        Scenario(name="warm", map="toy")
        .but(fleet__cars=40, until="1h", start="2022-10-12T07:00:00")
        .build_on(toy_city())
    )
    while not twin.world.done:
        twin.step()
    twin.world.finish()
    for table in twin.world.tables():
        to_arrow(table)
    pq.write_table(pa.table({"km": [1.0]}), io.BytesIO(), compression="zstd", write_page_checksum=True)


if __name__ == "__main__":
    main()
