"""One run of a sweep, inside the process that was made for it: simulate, commit the record, tell why not."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
import tomllib
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runs.sweeping.task import DONE, FAULT, NO_DISK, NO_MEMORY, STOPPED, Task

if TYPE_CHECKING:
    from maps.network import CityMap
    from runs.results import RunResult

WAIT_FOR_OTHER_S = 60.0
"""How long the run of a process that is just ending may hold the folder."""


def perform(task: Task, city: CityMap | None = None) -> int:
    """Do one run and commit it; never raises, the exit code and the file `task.why` tell.

    What is there already is not done again: a finished results folder only gets its record, an unfinished run goes on
    from its checkpoint.

    Parameters
    ----------
    task : Task
    city : CityMap, optional
        The scenario's map, where it is loaded already.

    Returns
    -------
    int
        DONE, STOPPED, FAULT, NO_DISK or NO_MEMORY.
    """
    from runs.folder import DiskError
    from runs.single import RunStopped

    try:
        before_s = time.process_time()
        result = _run(task, city)
        cpu_s = time.process_time() - before_s
        if task.record:
            from runs.sweeping.records import write_record

            write_record(task, result, cpu_s=cpu_s)
            if not task.keep_tables:
                shutil.rmtree(result.path, ignore_errors=True)
        Path(task.why).unlink(missing_ok=True)
    except (RunStopped, KeyboardInterrupt):
        return STOPPED
    except MemoryError as error:
        _tell(task, error)
        return NO_MEMORY
    except DiskError as error:
        _tell(task, error)
        return NO_DISK
    except Exception as error:  # noqa: BLE001 - told to whoever started this process
        _tell(task, error)
        return FAULT
    return DONE


def _run(task: Task, city: CityMap | None) -> RunResult:
    from runs.results import ResultsError
    from runs.scenario import Scenario
    from runs.single import finished, run
    from twin.checkpoint import CheckpointError

    scenario = Scenario.check(tomllib.loads(task.scenario), place=task.key)
    until = time.monotonic() + WAIT_FOR_OTHER_S
    resume = not (task.replace and finished(scenario, Path(task.target)) is not None)
    while True:
        try:
            return run(scenario, out=task.target, resume=resume, checkpoint_s=task.checkpoint_s, city=city)
        except CheckpointError:
            if not resume:
                raise
            resume = False  # damaged, or of an older program: from the beginning
        except ResultsError as error:
            # the process of a driver that was killed may need a moment to save its checkpoint
            if "another run" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.2)


def _tell(task: Task, error: BaseException) -> None:
    said: dict[str, Any] = {
        "key": task.key,
        "error": f"{type(error).__name__}: {' '.join(str(error).split())}",
        "traceback": "".join(traceback.format_exception(error)),
    }
    with contextlib.suppress(OSError):  # a full disk: the exit code still says so
        why = Path(task.why)
        why.parent.mkdir(parents=True, exist_ok=True)
        why.write_text(json.dumps(said, ensure_ascii=False), "utf-8")
