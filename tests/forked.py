"""Work in a child of this process, which shares what is loaded and compiled and takes everything it changed with it."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any


def in_a_child(work: Callable[[], Any]) -> Any:
    """What `work` returns, through JSON; None when the child ended before it, by a limit of its own or by dying.

    `work` answers for its exceptions: one that escapes ends the child without an answer.
    """
    read, write = os.pipe()
    sys.stdout.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # numba's threads are idle
        child = os.fork()
    if not child:
        os.close(read)
        try:
            said = json.dumps(work())
            with os.fdopen(write, "w") as out:
                out.write(said)
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as came:
        answer = came.read()
    os.waitpid(child, 0)
    return json.loads(answer) if answer else None
