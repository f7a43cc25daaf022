"""One run of a sweep as plain values: what is handed to a process, a Dask worker or an array job."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

DONE, FAULT, NO_DISK, NO_MEMORY, STOPPED = 0, 70, 73, 74, 75
"""Exit codes of the process that does a run."""


@dataclass(frozen=True)
class Task:
    """One run.

    Attributes
    ----------
    key : str
        Name of the run by content; two tasks of one key are one run.
    scenario : str
        The resolved scenario as TOML.
    target : str
        Its results folder.
    why : str
        File that tells why the run failed, when it does.
    record : str
        File of its record, written last; "" for none.
    keep_tables : bool
        Keep the results folder once the record is written.
    replace : bool
        Finished results that are there already are another program's: run again.
    series : tuple of str
        Series that the record holds.
    about : dict
        What the record repeats: point, replication, parameters.
    threads : int
        Threads the run may use.
    memory_mb : int
        Most memory of its own, MB; 0 is no limit.
    checkpoint_s : float
        Wall seconds between two checkpoints.
    """

    key: str
    scenario: str
    target: str
    why: str
    record: str = ""
    keep_tables: bool = True
    replace: bool = False
    series: tuple[str, ...] = ()
    about: dict[str, Any] = field(default_factory=dict)
    threads: int = 1
    memory_mb: int = 0
    checkpoint_s: float = 60.0

    def to_line(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=True)

    @classmethod
    def from_line(cls, line: str | bytes) -> Task:
        """The inverse of `to_line`."""
        said = json.loads(line)
        return cls(**{**said, "series": tuple(said["series"])})


@dataclass(frozen=True)
class Outcome:
    """How a run ended: done, stopped (goes on from its checkpoint), failed (and why), lost (its process died), no disk.

    Examples
    --------
    >>> Outcome.of(-9).state, Outcome.of(0).state, Outcome.of(-11).reason
    ('lost', 'done', 'killed by SIGSEGV')
    """

    state: str
    reason: str = ""

    @classmethod
    def of(cls, code: int | None, why: Path | None = None) -> Outcome:
        """From the exit code of a process (negative: a signal; None: it is not known)."""
        import signal

        if code == DONE:
            return cls("done")
        if code == STOPPED:
            return cls("stopped", "stopped, goes on from its checkpoint")
        said = reason_in(why)
        if code == FAULT:
            return cls("failed", said or "failed without a reason")
        if code == NO_DISK:
            return cls("no disk", said or "the disk cannot be written")
        if code == NO_MEMORY:
            return cls("lost", "out of memory" + (f": {said}" if said else ""))
        if code is None:
            return cls("lost", "its process was lost")
        if code < 0:
            try:
                name = signal.Signals(-code).name
            except ValueError:
                name = f"signal {-code}"
            return cls("lost", f"killed by {name}")
        return cls("lost", f"its process ended with code {code}" + (f": {said}" if said else ""))


def reason_in(why: Path | None) -> str:
    """The reason that a failed run wrote; "" where it wrote none."""
    if why is None:
        return ""
    try:
        said = json.loads(why.read_text("utf-8"))
    except (OSError, ValueError):
        return ""
    return str(said.get("error", "")) if isinstance(said, dict) else ""
