"""The page's server as `twin ui` runs it, which also answers on stdin how many models are alive and its memory.

`python -m tests.page_server PORT SCENARIO|DIR [DIR]`; a line on stdin is answered with one JSON line on stdout.
"""

from __future__ import annotations

import gc
import json
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import Any

from runs.scenario import Scenario
from twin.model import Twin
from viz.browser.serve import open_page

ALIVE: weakref.WeakSet[Twin] = weakref.WeakSet()


def resident_mb() -> float:
    """Memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def settings(model: Twin) -> dict[str, Any]:
    """Seed and settings of a model, by key of the scenario."""
    rooms = model.world.settings.model_dump(mode="json")
    return {"seed": model.world.seed} | {
        f"{room}.{key}": v for room, inner in rooms.items() for key, v in inner.items()
    }


def answer() -> None:
    """Count for every line on stdin."""
    for _ in sys.stdin:
        gc.collect()
        models: list[Any] = list(ALIVE)
        now = [[m.world.seed, len(m.world.fleet), m.world.now_ms, settings(m)] for m in models]
        del models
        said = {"alive": len(ALIVE), "resident_mb": resident_mb(), "models": now, "cpu_s": time.process_time()}
        print(json.dumps(said), flush=True)


def main(port: int, *what: str) -> None:
    """Serve until stopped."""
    made = Twin.__init__

    def counted(self: Twin, *given: Any, **named: Any) -> None:
        made(self, *given, **named)
        ALIVE.add(self)

    Twin.__init__ = counted  # type: ignore[method-assign]
    threading.Thread(target=answer, daemon=True).start()
    folders = [Path(w) for w in what if Path(w).is_dir()]
    scenario = None if folders else Scenario.load(what[0])
    open_page(scenario=scenario, runs=folders, port=port, ready=lambda url: print(url, flush=True))


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
