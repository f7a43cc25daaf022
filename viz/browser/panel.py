"""Mesa's panel beside the page: drawn anew a few times a second, not after every step of a playing twin."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from mesa.visualization import solara_viz
from solara.server import kernel_context

PANEL_EVERY_S = 0.5


class Rarely:
    """Calls `draw` at once when the last call was long ago, else once when it is; for each browser session by itself.

    Mesa redraws its whole panel after every step of a twin to show the number of steps, which takes more than the step.

    Parameters
    ----------
    draw : callable
    every_s : float
    """

    def __init__(self, draw: Callable[[], None], every_s: float) -> None:
        self.draw, self.every_s = draw, every_s
        self._drawn_at: dict[str, float] = {}
        self._due: set[str] = set()
        self._lock = threading.Lock()

    def __call__(self) -> None:
        """Draw now or soon."""
        session = kernel_context.get_current_context().id
        with self._lock:
            if session in self._due:
                return
            now = time.monotonic()
            self._drawn_at = {key: at for key, at in self._drawn_at.items() if now - at < self.every_s}
            if session in self._drawn_at:
                self._due.add(session)
                # Solara hands a thread the session in which it was made
                timer = threading.Timer(self.every_s - (now - self._drawn_at[session]), self._late)
                timer.daemon = True
                timer.start()
                return
            self._drawn_at[session] = now
        self.draw()

    def _late(self) -> None:
        session = kernel_context.get_current_context()
        with self._lock:
            self._due.discard(session.id)
            self._drawn_at[session.id] = time.monotonic()
        if not session.closed_event.is_set():
            self.draw()


def calm() -> None:
    """Have Mesa's panel drawn rarely; once per process."""
    if not isinstance(solara_viz.force_update, Rarely):
        solara_viz.force_update = Rarely(solara_viz.force_update, PANEL_EVERY_S)
