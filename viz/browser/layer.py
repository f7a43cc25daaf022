"""The widget of the page and the way frames get to it: acknowledged, and dropped when the page is behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import anywidget
import traitlets

SCRIPTS = ("packet.js", "city.js", "charts.js", "page.js")

UNDERWAY = 4
"""Frames that may be on their way to the page, so that the way there and back is not waited for."""

SILENCE_S = 1.0
"""A page that has not acknowledged a frame for so long is hidden or gone: play waits for it."""


def _read(name: str) -> str:
    return files("viz.browser").joinpath(name).read_text("utf-8")


class Layer(anywidget.AnyWidget):
    """Map, layers, charts and stories as one widget; everything it needs is in the package."""

    _esm = "\n".join(_read(name) for name in SCRIPTS)
    _css = _read("page.css")
    kind = traitlets.Unicode("live").tag(sync=True)
    city = traitlets.Bytes(b"").tag(sync=True)
    frame = traitlets.Bytes(b"").tag(sync=True)
    day = traitlets.Bytes(b"").tag(sync=True)
    story = traitlets.Dict().tag(sync=True)
    ack = traitlets.Int(0).tag(sync=True)
    pick = traitlets.Dict().tag(sync=True)
    shown = traitlets.Int(0).tag(sync=True)


class Feed:
    """Sends the newest frame whenever the page has drawn all but one of those before.

    Parameters
    ----------
    widget : Layer
    make : callable
        Packs the frame with the given serial number; called only when it will be sent.

    Attributes
    ----------
    sent, dropped : int
        Frames that went out, and that were replaced by a newer one before they could.

    Notes
    -----
    A slow page costs frames, never ticks. A page that is silent for `SILENCE_S` makes `hold` wait, so that play stops
    where the viewer saw it last. Neither touches the model.
    """

    def __init__(self, widget: Layer, make: Callable[[int], bytes]) -> None:
        self.widget = widget
        self._make: Callable[[int], bytes] | None = make
        self.sent = self.dropped = 0
        self.closed = False
        self._due = False
        self._sent_at = 0.0
        self._lock = threading.RLock()
        self._heard = threading.Event()
        self._listener = 0
        widget.observe(self._on_ack, "ack")
        widget.observe(self._on_shown, "shown")

    def offer(self) -> None:
        """Something new can be seen: send it now, or as soon as the page is ready."""
        with self._lock:
            if self._due:
                self.dropped += 1
            self._due = True
            self._send()

    def hold(self) -> None:
        """Wait while the page is silent; never in the thread that hears it."""
        while not self.closed and threading.get_ident() != self._listener and self._silent():
            self._heard.wait(0.2)
            self._heard.clear()

    def close(self) -> None:
        """The page is gone."""
        self.closed = True
        self._make = None
        self._heard.set()
        self.widget.unobserve_all()

    def _silent(self) -> bool:
        return self.widget.ack < self.sent and time.monotonic() - self._sent_at > SILENCE_S

    def _send(self) -> None:
        if self.closed or self._make is None or self.sent - self.widget.ack >= UNDERWAY or not self._due:
            return
        self._due = False
        self.sent += 1
        self._sent_at = time.monotonic()
        self.widget.frame = self._make(self.sent)

    def _on_ack(self, _change: Any) -> None:
        self._listener = threading.get_ident()
        self._heard.set()
        with self._lock:
            self._send()

    def _on_shown(self, _change: Any) -> None:
        """A page has (again) been opened on this widget: what was under way is lost."""
        with self._lock:
            self._due = True
            self.sent = max(self.sent, self.widget.ack)
            self.widget.ack = self.sent
            self._send()
