"""Dask as dispatcher: it says which worker does which run, and nothing more.

Results are durable before a worker answers (see `worker`), so what Dask forgets when workers, its scheduler or this
driver die is only who was busy with what. A Dask worker does not simulate either: it asks its own nursery for a process
per run.
Between machines, and on one machine with other users, connections are encrypted and authenticated (TLS): whoever can
reach a Dask scheduler can run code.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runs.sweeping.forecast import directives
from runs.sweeping.launcher import Launcher, WorkersError
from runs.sweeping.local import ATTEMPTS, Stopped, Tell, stop_signals
from runs.sweeping.records import read_record
from runs.sweeping.sweep_file import Sweep, SweepError
from runs.sweeping.task import Outcome, Task

PATIENCE_S = 600.0
"""Wall seconds without any worker, or without a scheduler, after which a sweep gives up and says so."""
SAY_S = 15.0
CONFIG = {
    # a nanny that restarts its worker is not lost; a run's death is counted by us and not by Dask
    "distributed.deploy.lost-worker-timeout": "1h",
    "distributed.scheduler.allowed-failures": 1000,
    "distributed.worker.memory.terminate": False,
    "distributed.admin.tick.limit": "1h",
}


@dataclass
class Cluster:
    """How Dask is reached.

    Attributes
    ----------
    open : callable
        Gives a client and what to close after it. Called again when the scheduler was lost.
    slots : int
        Runs at a time, as far as it is known beforehand.
    """

    open: Callable[[], tuple[Any, Callable[[], None]]]
    slots: int
    patience_s: float = PATIENCE_S


def needs(module: str) -> Any:
    """A module of the extra.

    Raises
    ------
    SweepError
        When it is not installed.
    """
    from importlib import import_module

    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise SweepError(
            f"this executor needs {error.name}: pip install 'fleet-twin[cluster]'; "
            "--executor local and --shard do without"
        ) from None


@contextmanager
def reach(
    sweep: Sweep,
    executor: str,
    *,
    workers: int | None,
    address: str | None,
    cluster: Cluster | None,
    say: Callable[[str], None],
) -> Iterator[Cluster]:
    """The cluster that an executor's name and an address mean.

    Raises
    ------
    SweepError
        Bad address, or a package is missing.
    """
    if cluster is not None:
        yield cluster
        return
    dask = needs("dask")
    needs("distributed")
    with dask.config.set(CONFIG):
        if executor == "slurm":
            yield slurm(sweep, jobs=workers, say=say)
        elif address is not None:
            yield at(address)
        else:
            yield here(workers or os.cpu_count() or 1, threads=sweep.run.threads, say=say)


def here(workers: int, *, threads: int = 1, say: Callable[[str], None] = lambda _text: None) -> Cluster:
    """A cluster of processes on this machine, on loopback, with certificates that live as long as it does."""
    distributed = needs("distributed")
    needs("cryptography")

    def open_() -> tuple[Any, Callable[[], None]]:
        cluster = distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
            protocol="tls://",
            security=distributed.Security.temporary(),
            memory_limit=0,
            silence_logs=50,
            resources={"threads": threads},
        )
        client = distributed.Client(cluster, set_as_default=False)
        say(f"dask: {workers} workers at {cluster.scheduler_address}, dashboard {cluster.dashboard_link}")
        return client, cluster.close

    return Cluster(open_, workers)


def at(address: str) -> Cluster:
    """A scheduler that is there already; TLS certificates come from Dask's configuration (`distributed.comm.tls`).

    Raises
    ------
    SweepError
        When the address is none, or open to others without TLS.
    """
    distributed = needs("distributed")
    scheme, _, place = address.partition("://")
    if scheme not in ("tcp", "tls") or ":" not in place:
        raise SweepError(f"--address {address!r}: must be tls://HOST:PORT, or tcp:// on this machine")
    host = place.rpartition(":")[0]
    if scheme == "tcp" and host not in ("127.0.0.1", "localhost", "[::1]"):
        raise SweepError(
            f"--address {address}: tcp:// lets everyone who reaches that port run code; start the scheduler with "
            "--tls-ca-file, --tls-cert, --tls-key, set DASK_DISTRIBUTED__COMM__TLS__… and give tls://"
        )

    def open_() -> tuple[Any, Callable[[], None]]:
        security = distributed.Security(require_encryption=True) if scheme == "tls" else None
        client = distributed.Client(address, security=security, timeout="10s", set_as_default=False)
        return client, lambda: None

    return Cluster(open_, 64)


def slurm(sweep: Sweep, *, jobs: int | None = None, say: Callable[[str], None] = lambda _text: None) -> Cluster:
    """Workers as SLURM jobs, by dask-jobqueue; lost jobs are replaced."""
    jobs = jobs or sweep.slurm.jobs

    def open_() -> tuple[Any, Callable[[], None]]:
        distributed = needs("distributed")
        cluster = slurm_cluster(sweep)
        cluster.adapt(minimum_jobs=jobs, maximum_jobs=jobs, interval="2s", wait_count=30)
        say(f"slurm: {jobs} jobs asked for, scheduler at {cluster.scheduler_address}")
        return distributed.Client(cluster, set_as_default=False), cluster.close

    return Cluster(open_, jobs)


def slurm_cluster(sweep: Sweep) -> Any:
    """A `dask_jobqueue.SLURMCluster` as the sweep file says; `.job_script()` is what is submitted."""
    jobqueue, distributed = needs("dask_jobqueue"), needs("distributed")
    needs("cryptography")
    said = sweep.slurm
    paths = os.environ.get("PYTHONPATH", "")
    lifetime = walltime_s(said.walltime) - 90
    own = [
        "--requeue",
        # workers save checkpoints when they get SIGTERM, a minute before the end
        "--signal=B:TERM@60",
        *directives(said, sweep.name)[1:],
    ]
    return jobqueue.SLURMCluster(
        job_name=f"twin-{sweep.name}",
        cores=sweep.run.threads,
        processes=1,
        memory=said.memory,
        walltime=said.walltime,
        interface=said.interface or None,
        job_extra_directives=own,
        job_script_prologue=[
            "export OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1",
            *([f"export PYTHONPATH={paths}"] if paths else []),
            *said.prologue,
        ],
        worker_extra_args=["--lifetime", f"{max(lifetime, 60)}s", "--lifetime-stagger", "20s"],
        scheduler_options={"dashboard_address": "127.0.0.1:0"},
        python=sys.executable,
        protocol="tls://",
        security=distributed.Security.temporary(),
        shared_temp_directory=str(Path.cwd()),
    )


def walltime_s(text: str) -> int:
    """Seconds of a SLURM time.

    Examples
    --------
    >>> walltime_s("01:30:00"), walltime_s("2-00:00:00")
    (5400, 172800)
    """
    days, _, clock = text.rpartition("-")
    hours, minutes, seconds = map(int, clock.split(":"))
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


_OWN = threading.local()


def run_task(line: str, timeout_s: float) -> int | None:
    """One run on a Dask worker, in a process of its nursery; the exit code, None when the nursery was lost."""
    task = Task.from_line(line)
    if task.record and read_record(Path(task.record), task.key) is not None:
        return 0
    launcher = getattr(_OWN, "launcher", None)
    if launcher is None:
        launcher = _OWN.launcher = Launcher()
    until = time.monotonic() + timeout_s
    launcher.start(task)
    while True:
        for key, code in launcher.ended(1.0):
            if key == task.key:
                return code if code is None else int(code)
        if time.monotonic() > until:
            until = float("inf")
            launcher.signal(9, task.key)


def dispatch(
    tasks: Sequence[Task],
    cluster: Cluster,
    *,
    attempts: int = ATTEMPTS,
    timeout_s: float = float("inf"),
    tell: Tell = lambda _task, _outcome, _attempt: None,
    beat: Callable[[int], None] = lambda _running: None,
    enough: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda _text: None,
) -> dict[str, Outcome]:
    """Do runs on a cluster; arguments and result as of `local.execute`.

    Raises
    ------
    Stopped
        SIGINT or SIGTERM.
    WorkersError
        No scheduler, or no worker, for `patience_s`.
    """
    driver = _Driver(tasks, cluster, attempts, timeout_s, tell, say)
    with stop_signals() as caught:
        try:
            driver.open()
            while driver.todo or driver.futures:
                if caught:
                    break
                if enough():
                    driver.todo.clear()
                driver.turn()
                beat(len(driver.futures))
                time.sleep(0.1)
        finally:
            driver.close()
        if caught:
            raise Stopped(caught[0])
    return driver.outcomes


class _Driver:
    """Which run is with Dask, which is not yet, which has ended."""

    def __init__(
        self,
        tasks: Sequence[Task],
        cluster: Cluster,
        attempts: int,
        timeout_s: float,
        tell: Tell,
        say: Callable[[str], None],
    ) -> None:
        self.todo = deque(tasks)
        self.by_key = {task.key: task for task in tasks}
        self.lost = dict.fromkeys(self.by_key, 0)
        self.serial = 0
        self.cluster, self.attempts, self.timeout_s, self.tell, self.say = cluster, attempts, timeout_s, tell, say
        self.futures: dict[str, Any] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.client: Any = None
        self._close: Callable[[], None] = lambda: None
        self._alone_since: float | None = None
        self._said = self._looked = time.monotonic()

    def open(self) -> None:
        began, why = time.monotonic(), ""
        while time.monotonic() - began < self.cluster.patience_s:
            try:
                self.client, self._close = self.cluster.open()
            except (OSError, TimeoutError) as error:
                why = " ".join(str(error).split()) or type(error).__name__
                self._now_and_then(f"no scheduler yet: {why}")
                time.sleep(1.0)
            else:
                return
        raise WorkersError(f"no Dask scheduler for {self.cluster.patience_s:.0f} s ({why}); the same command goes on")

    def close(self) -> None:
        for close in (self.client.close if self.client is not None else lambda: None, self._close):
            with suppress(Exception):  # a cluster that is gone has nothing to close
                close()
        self.client = None

    def turn(self) -> None:
        """Hand on what fits, hear what ended, see who is there."""
        if self.client.status != "running":
            self._reopen()
        while self.todo and len(self.futures) < 2 * self.cluster.slots:
            task = self.todo.popleft()
            self.serial += 1
            name = f"run-{task.key}-{self.serial}"
            try:
                self.futures[task.key] = self.client.submit(
                    run_task, task.to_line(), self.timeout_s, key=name, pure=False, retries=0
                )
            except Exception:  # noqa: BLE001 - whatever closed the client: the next turn opens it again
                self.todo.appendleft(task)
                return
        for key, future in list(self.futures.items()):
            if future.status == "finished":
                del self.futures[key]
                try:
                    code = future.result(timeout=30)
                except Exception:  # noqa: BLE001 - the worker died with the answer; the record tells
                    code = None
                self._ended(key, code)
            elif future.status in ("error", "cancelled", "lost"):
                del self.futures[key]
                self._ended(key, None)
        self._look_for_workers()

    def _ended(self, key: str, code: int | None) -> None:
        task = self.by_key[key]
        outcome = Outcome.of(code, Path(task.why))
        if outcome.state in ("lost", "stopped") and task.record and read_record(Path(task.record), key) is not None:
            outcome = Outcome("done")
        attempt = self.lost[key] + 1
        if outcome.state in ("lost", "stopped"):
            self.lost[key] = attempt
            if self.lost[key] < self.attempts:
                self.tell(task, outcome, attempt)
                self.todo.append(task)
                return
            outcome = Outcome("failed", f"lost {self.lost[key]} times, the last: {outcome.reason}")
        self.outcomes[key] = outcome
        self.tell(task, outcome, attempt)

    def _reopen(self) -> None:
        self.say("the Dask scheduler was lost; connecting again")
        # runs that were with it are handed out again; those that are committed answer at once
        self.todo.extendleft(self.by_key[key] for key in self.futures)
        self.futures.clear()
        self.close()
        self.open()

    def _look_for_workers(self) -> None:
        if time.monotonic() - self._looked < 1.0:
            return
        self._looked = time.monotonic()
        try:
            there = len(self.client.scheduler_info(n_workers=-1)["workers"])
        except Exception:  # noqa: BLE001 - a scheduler that does not answer; the client's status tells soon
            return
        if there:
            self._alone_since = None
            return
        self._alone_since = self._alone_since or time.monotonic()
        alone = time.monotonic() - self._alone_since
        if alone > self.cluster.patience_s:
            raise WorkersError(f"no worker for {alone:.0f} s; the same command goes on when there are some")
        if alone > 5:
            self._now_and_then(f"no worker for {alone:.0f} s (gives up after {self.cluster.patience_s:.0f} s)")

    def _now_and_then(self, text: str) -> None:
        if time.monotonic() - self._said > SAY_S:
            self._said = time.monotonic()
            self.say(text)
