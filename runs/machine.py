"""The machine and the program a run was made with."""

from __future__ import annotations

import hashlib
import os
import platform
import resource
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path

PACKAGES = (
    "fleet-twin",
    "mesa",
    "simpy",
    "numpy",
    "numba",
    "llvmlite",
    "scipy",
    "networkx",
    "osmnx",
    "osmium",
    "pyrosm",
    "shapely",
    "pyproj",
    "pyarrow",
    "pydantic",
    "typer",
    "rich",
    "matplotlib",
)


def versions() -> dict[str, str]:
    """Versions of Python and of what we build on; "missing" where a package is not installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    return found


def cpu_target() -> str:
    """What kernels are compiled for: `NUMBA_CPU_NAME`, or this machine's processor."""
    from llvmlite.binding import get_host_cpu_name  # type: ignore[import-untyped]

    return os.environ.get("NUMBA_CPU_NAME") or str(get_host_cpu_name())


def code_sha256() -> str:
    """Hash over what decides how a run goes on: the simulated world's code and facts, names and content."""
    digest = hashlib.sha256()
    root = Path(str(files("twin")))
    ours = [*root.rglob("*.py"), *root.rglob("*.toml"), Path(str(files("maps"))) / "network.py"]
    for path in sorted(ours):
        digest.update(path.relative_to(root.parent).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def facts_sha256() -> str:
    """Hash over all facts files, names and content."""
    digest = hashlib.sha256()
    for file in sorted(files("twin").joinpath("facts").iterdir(), key=lambda f: f.name):
        if file.name.endswith(".toml"):
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * 1024 / 1e6, 1) if platform.system() == "Linux" else round(peak / 1e6, 1)


def free_memory_mb() -> float | None:
    """Memory that is free for programs, MB; None where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return round(int(line.split()[1]) * 1024 / 1e6, 1)
    except OSError:
        pass
    return None
