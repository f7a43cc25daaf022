"""What a run needs from the machine, looked at."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NamedTuple

FREE_MEMORY_MB = 1_000
FREE_DISK_MB = 500


class Finding(NamedTuple):
    """One thing looked at: whether it is as a run needs it, and what was found."""

    what: str
    ok: bool
    found: str


def examine() -> list[Finding]:
    """Look at versions, processor, kernel cache, map cache, data folder, memory and disk."""
    from maps.get import cache_folder, data_folder, recipe_names
    from runs.machine import cpu_target, free_memory_mb, versions
    from runs.scenario import built_in

    findings = [Finding(name, number != "missing", number) for name, number in versions().items()]
    findings.append(Finding("processors", True, f"{os.cpu_count()} cores, kernels compiled for {cpu_target()}"))
    findings.append(_kernels())
    cache = cache_folder()
    findings.append(
        Finding("map cache", _may_write(cache), f"{cache}{'' if _may_write(cache) else ' cannot be written'}")
    )
    data = data_folder()
    findings.append(
        Finding("data", True, str(data) if data else "none: set TWIN_DATA for kyoto and porto; the demo works without")
    )
    findings.append(Finding("maps", True, ", ".join(recipe_names())))
    findings.append(Finding("scenarios", True, ", ".join(built_in())))
    free = free_memory_mb()
    findings.append(
        Finding("free memory", free is None or free > FREE_MEMORY_MB, f"{free:,.0f} MB" if free else "not known")
    )
    disk = shutil.disk_usage(Path.cwd()).free / 1e6
    findings.append(Finding("free disk", disk > FREE_DISK_MB, f"{disk:,.0f} MB here"))
    results = Path("results")
    findings.append(Finding("results folder", _may_write(results), str(results.absolute())))
    return findings


def _kernels() -> Finding:
    """Where numba keeps compiled kernels: `NUMBA_CACHE_DIR`, or beside each kernel's module."""
    own = os.environ.get("NUMBA_CACHE_DIR")
    packages = Path(__file__).resolve().parents[1] / "twin"
    place = Path(own) if own else packages
    kept = sum(1 for _ in place.rglob("*.nbi")) if place.is_dir() else 0
    ok = _may_write(place)
    return Finding(
        "kernel cache",
        True,
        f"{kept} kernels in {place}" + ("" if ok else " (cannot be written: compiled anew in each run)"),
    )


def _may_write(path: Path) -> bool:
    """Whether a folder, or the nearest parent that exists, may be written to."""
    while not path.exists() and path.parent != path:
        path = path.parent
    return path.is_dir() and os.access(path, os.W_OK)
