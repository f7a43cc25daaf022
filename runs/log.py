"""The run's log: one JSON object per line, from our own events and from Python's logging and warnings."""

from __future__ import annotations

import json
import logging
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from runs.folder import disk_errors

_ROOMS = ("maps", "twin", "runs", "viz", "py.warnings")


class _Lines(logging.Handler):
    def __init__(self, path: Path, simulated_s: Callable[[], float]) -> None:
        super().__init__(logging.INFO)
        self._file = path.open("a", encoding="utf-8")
        self._began = time.monotonic()
        self._simulated_s = simulated_s

    def emit(self, record: logging.LogRecord) -> None:
        line = {
            "wall_s": round(time.monotonic() - self._began, 3),
            "time_s": self._simulated_s(),
            "level": record.levelname.lower(),
            "from": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["traceback"] = "".join(traceback.format_exception(record.exc_info[1]))
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()
        super().close()


@contextmanager
def logged_to(path: Path, simulated_s: Callable[[], float]) -> Iterator[logging.Logger]:
    """While inside, what any room logs or warns goes to `path`; gives the logger of `runs`.

    Parameters
    ----------
    path : Path
    simulated_s : callable
        Gives the simulated time of a line.
    """
    with disk_errors(path.parent):
        handler = _Lines(path, simulated_s)
    loggers = [logging.getLogger(room) for room in _ROOMS]
    levels = [logger.level for logger in loggers]
    logging.captureWarnings(capture=True)
    for logger in loggers:
        logger.addHandler(handler)
        if logger.getEffectiveLevel() > logging.INFO:
            logger.setLevel(logging.INFO)
    try:
        yield logging.getLogger("runs")
    finally:
        logging.captureWarnings(capture=False)
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
        handler.close()
