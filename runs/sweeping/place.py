"""The folder of a sweep: whose it is, what is done in it, who works in it."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runs.folder import DiskError, disk_errors
from runs.results import PROGRAM
from runs.scenario import seconds
from runs.sweeping.design import PlannedRun
from runs.sweeping.keys import program
from runs.sweeping.records import write_durably
from runs.sweeping.sweep_file import Sweep, SweepError
from runs.sweeping.task import Task

FIRST_GUESS_B = {"tables": 4_000_000, "records": 60_000}
"""Disk of one small run before any has been measured."""


@dataclass(frozen=True)
class Place:
    """A sweep's folder.

    `sweep.json` whose it is · `records/<key>.json` finished runs · `runs/<key>/` their results folders ·
    `failures/<key>.json` why a run failed · `*.parquet` the tables over all runs.
    """

    path: Path

    def record(self, key: str) -> Path:
        """Record of a run."""
        return self.path / "records" / f"{key}.json"

    def why(self, key: str) -> Path:
        """Why a run failed."""
        return self.path / "failures" / f"{key}.json"

    def results(self, key: str) -> Path:
        """Results folder of a run."""
        return self.path / "runs" / key

    def check(self, sweep: Sweep) -> None:
        """Refuse a folder that holds something else; nothing is written.

        Raises
        ------
        SweepError
        """
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise SweepError(f"{self.path}: is a file; give --out a folder")
        said = self._said()
        if said is None:
            if any(self.path.iterdir()):
                raise SweepError(f"{self.path}: holds something that is no sweep; choose another --out")
            return
        if said.get("sweep") != sweep.sha256:
            raise SweepError(
                f"{self.path}: holds the sweep {said.get('name')}-{str(said.get('sweep'))[:8]}, not "
                f"{sweep.name}-{sweep.sha256[:8]}; choose another --out, or leave it out"
            )

    def open(self, sweep: Sweep) -> None:
        """Make the folder this sweep's."""
        content = {
            "program": PROGRAM,
            "sweep": sweep.sha256,
            "name": sweep.name,
            "code": program(),
            "file": sweep.model_dump(mode="json"),
        }
        write_durably(self.path / "sweep.json", json.dumps(content, ensure_ascii=False, indent=1) + "\n")

    def sweep(self) -> Sweep:
        """The sweep that the folder holds.

        Raises
        ------
        SweepError
        """
        said = self._said()
        if said is None or "file" not in said:
            raise SweepError(f"{self.path}: holds no sweep; give a folder that twin sweep wrote")
        return Sweep.check(said["file"], place=str(self.path / "sweep.json"))

    def _said(self) -> dict[str, Any] | None:
        try:
            said = json.loads((self.path / "sweep.json").read_text("utf-8"))
        except (OSError, ValueError):
            return None
        return said if isinstance(said, dict) and said.get("program") == PROGRAM else None

    def failed(self, key: str) -> str:
        """Reason of a run that is recorded as failed for good; "" for others."""
        try:
            said = json.loads(self.why(key).read_text("utf-8"))
        except (OSError, ValueError):
            return ""
        return str(said.get("error") or "failed") if said.get("final") else ""

    def fail(self, key: str, reason: str) -> None:
        """Record a run as failed, with what its process told and wrote on stderr."""
        said: dict[str, Any] = {}
        try:
            said = json.loads(self.why(key).read_text("utf-8"))
        except (OSError, ValueError):
            said = {"key": key}
        errors = self.why(key).with_suffix(".err")
        if errors.is_file():
            said["stderr"] = errors.read_text("utf-8", "replace")[-4000:]
        write_durably(self.why(key), json.dumps({**said, "error": reason, "final": True}, ensure_ascii=False))

    @contextmanager
    def lock(self, name: str = "lock") -> Iterator[None]:
        """Keep a second driver out.

        Raises
        ------
        SweepError
            When one is at work.
        """
        with disk_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            file = (self.path / f".{name}").open("w")
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise SweepError(f"{self.path}: another twin sweep works here now; wait, or stop it") from None
            yield


def require_space(place: Place, sweep: Sweep, n_todo: int, done: Sequence[dict[str, Any]]) -> None:
    """Refuse to begin when the disk cannot take what is to come.

    Raises
    ------
    DiskError
    SweepError
        When the budget does not allow it.
    """
    each = FIRST_GUESS_B[sweep.run.keep]
    if done and sweep.run.keep == "tables":
        each = int(sum(r["disk_bytes"] for r in done) / len(done))
    need = each * n_todo
    existing = next(p for p in (place.path.absolute(), *place.path.absolute().parents) if p.exists())
    with disk_errors(existing):
        free = shutil.disk_usage(existing).free
    if need > free:
        raise DiskError(
            f"{place.path}: {n_todo:,} runs need about {need / 1e9:,.1f} GB, {free / 1e9:,.1f} GB are free; "
            'run.keep = "records" keeps figures and series only'
        )
    most = sweep.budget.disk_gb
    if most is not None and need > most * 1e9:
        raise SweepError(f"{sweep.name}: {n_todo:,} runs need about {need / 1e9:,.2f} GB, budget.disk_gb is {most:g}")


def task_of(place: Place, sweep: Sweep, key: str, run: PlannedRun) -> Task:
    """What is handed to whoever runs a run."""
    return Task(
        key=key,
        scenario=run.scenario.to_toml(),
        target=str(place.results(key).absolute()),
        why=str(place.why(key).absolute()),
        record=str(place.record(key).absolute()),
        keep_tables=sweep.run.keep == "tables",
        series=tuple(sweep.answers.series),
        about={"point": run.point.number, "replication": run.replication, "levels": run.point.levels},
        threads=sweep.run.threads,
        memory_mb=sweep.run.memory_mb,
        checkpoint_s=float(seconds(sweep.run.checkpoint)),
    )
