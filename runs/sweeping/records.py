"""The record of one run: its figures, series and digests, one small file from the process that did the run."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from runs.folder import disk_errors
from runs.sweeping.task import Task

if TYPE_CHECKING:
    from runs.results import RunResult

FORMAT = 1


def write_durably(path: Path, text: str) -> None:
    """Temporary name, fsync, rename, fsync of the folder: the file is whole or not there.

    Raises
    ------
    DiskError
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        place = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(place)
        finally:
            os.close(place)


def write_record(task: Task, result: RunResult, *, cpu_s: float) -> None:
    """Commit what a sweep keeps of a finished run: from here on it is done and never run again."""
    manifest = result.manifest
    record = {
        "format": FORMAT,
        "key": task.key,
        "about": task.about,
        "status": result.status,
        "why": manifest.get("why", ""),
        "seed": manifest["seed"],
        "figures": flat(result.summary),
        "series": {name: SERIES[name](result) for name in task.series},
        "tables": {name: about["digest"] for name, about in manifest["files"].items() if "digest" in about},
        "ledger": manifest["ledger"],
        "seconds": {k: float(v) for k, v in manifest["seconds"].items()},
        "cpu_s": round(cpu_s, 3),
        "peak_memory_mb": manifest["peak_memory_mb"],
        "disk_bytes": sum(p.stat().st_size for p in result.path.rglob("*") if p.is_file()),
        "ended_utc": manifest["ended_utc"],
        "resumed_s": manifest.get("resumed_s", []),
    }
    write_durably(Path(task.record), json.dumps(record, ensure_ascii=False, allow_nan=False, sort_keys=True))


def read_record(path: Path, key: str) -> dict[str, Any] | None:
    """A record, when it is there, whole and of this run."""
    try:
        record = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict) or record.get("format") != FORMAT or record.get("key") != key:
        return None
    return record


def flat(summary: Mapping[str, Any], lead: str = "") -> dict[str, float]:
    """Numbers of a summary by path, those that are not finite or no numbers left out.

    Examples
    --------
    >>> flat({"grid": {"peak_kw": 3, "note": "x"}, "ok": True})
    {'grid.peak_kw': 3}
    """
    found: dict[str, float] = {}
    for name, value in summary.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{lead}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            found[lead + name] = value
    return found


def _sum_by(
    result: RunResult, table: str, by: str, scale: float, columns: Mapping[str, str]
) -> dict[str, dict[str, list[float]]]:
    """Sums of columns by a column of times: name to times in seconds and values."""
    rows = result.table(table, [by, *columns.values()])
    at, place = np.unique(rows.column(by).to_numpy().astype(float), return_inverse=True)
    return {
        name: {
            "time_s": (at * scale).tolist(),
            "value": np.bincount(place, rows.column(column).to_numpy().astype(float), len(at)).tolist(),
        }
        for name, column in columns.items()
    }


def _grid_load(result: RunResult) -> dict[str, dict[str, list[float]]]:
    """Power over all sites; the table has rows where there was load, the series has every interval."""
    there = _sum_by(result, "grid_load", "time_s", 1.0, {"power_kw": "power_kw"})["power_kw"]
    load = dict(zip(there["time_s"], there["value"], strict=True))
    interval_s = result.scenario.grid.interval_min * 60
    every = np.arange(0, float(result.manifest["simulated_s"]), interval_s).tolist()
    return {"power_kw": {"time_s": every, "value": [load.get(at, 0.0) for at in every]}}


SERIES: dict[str, Callable[[RunResult], dict[str, dict[str, list[float]]]]] = {
    "grid_load": _grid_load,
    "autonomy": lambda r: _sum_by(r, "autonomy", "hour", 3600.0, {"km": "km", "engaged_km": "engaged_km"}),
    "cloud": lambda r: _sum_by(
        r,
        "cloud",
        "time_s",
        1.0,
        {"generated_bytes": "generated_bytes", "delivered_bytes": "delivered_bytes", "dropped_bytes": "dropped_bytes"},
    ),
}
"""Series of a run that a record can hold, summed over sites, classes and cells."""
