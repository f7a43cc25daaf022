"""One measured process: wall and CPU seconds and peak memory of all of it, and what it printed.

The command is started by a small process of its own (this file run as a script): a child's peak memory begins with that
of whoever starts it, and the harness is not small.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple


class Done(NamedTuple):
    """How a process ended: `cost` has the keys rc, wall_s, cpu_s, rss_mib."""

    cost: dict[str, Any]
    said: str


def measured(command: list[str], *, environment: dict[str, str] | None = None, limit_gib: int = 0) -> Done:
    """Run a command to its end; both outputs are in `said`. `limit_gib` above 0 bounds its address space."""
    with tempfile.NamedTemporaryFile() as cost:
        starter = [sys.executable, "-I", "-S", __file__, cost.name, str(limit_gib), *command]
        outputs = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        done = subprocess.run(starter, env=environment, check=False, **outputs)  # type: ignore[call-overload]
        told = cost.read()
    if not told:
        raise OSError(f"{command[0]}: {done.stdout.decode(errors='replace').strip()[-200:]}")
    return Done(json.loads(told), done.stdout.decode(errors="replace"))


def cache_folder() -> Path:
    """Where the harness keeps its environment: TWIN_CACHE, else `~/.cache/fleet-twin`."""
    folder = Path(os.environ.get("TWIN_CACHE") or Path("~/.cache/fleet-twin").expanduser())
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def start(report: str, limit_gib: int, command: list[str]) -> None:
    """Be the small process."""
    begun = perf_counter()
    child = os.fork()
    if not child:
        if limit_gib:
            resource.setrlimit(resource.RLIMIT_AS, (limit_gib << 30, resource.getrlimit(resource.RLIMIT_AS)[1]))
        os.execv(command[0], command)
    _, status, usage = os.wait4(child, 0)
    cost = {
        "rc": os.waitstatus_to_exitcode(status),
        "wall_s": round(perf_counter() - begun, 3),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 3),
        "rss_mib": round(usage.ru_maxrss / 1024, 1),
    }
    Path(report).write_text(json.dumps(cost), "utf-8")


if __name__ == "__main__":
    start(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
