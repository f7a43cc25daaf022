"""A page server and a real headless Chromium for tests and benches."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from maps.toy import toy_city

ROOT = Path(__file__).resolve().parent.parent
ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
HARMLESS = "Failed to evaluate Vue script"
"""A remark of Solara's own templates, in every Solara page."""

WRONG = "/Traceback|could not be built|Internal Server Error/"
"""What stands on a page whose Python failed."""


def lacking() -> str:
    """What a browser test needs and this machine lacks, empty when nothing."""
    modules = [m for m in ("solara", "solara_assets", "anywidget", "playwright") if importlib.util.find_spec(m) is None]
    if modules:
        return f"{modules[0]} is not installed (extra test)"
    return "" if shutil.which("chromium") else "no chromium on the PATH (apt-get install chromium)"


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def toy_scenario(folder: Path, *, cars: int = 600, start: str = "2022-10-12T07:30:00") -> Path:
    """A scenario file on a small made-up city."""
    toy_city(6).save(folder / "toy.map.npz")
    path = folder / "toy.toml"
    path.write_text(
        f'name = "toy"\nmap = "toy.map.npz"\nstart = {start}\nuntil = "3h"\n[fleet]\ncars = {cars}\n'
        "bev = 0.5\nepower = 0.3\n[demand]\nother_traffic = 0.2\n",
        "utf-8",
    )
    return path


class PageServer:
    """A running `tests.page_server`."""

    def __init__(self, *what: Path | str, log: Path, env: dict[str, str] | None = None) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        self._log = log.open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.page_server", str(self.port), *map(str, what)],
            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
        )  # fmt: skip
        assert self.process.stdout is not None
        said = self.process.stdout.readline().strip()
        assert said == self.url, f"{said!r}; {log.read_text()}"

    def count(self) -> dict[str, Any]:
        """Models alive, memory, CPU time."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("count\n")
        self.process.stdin.flush()
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def close(self) -> None:
        """Stop it as Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)
        for pipe in (self.process.stdin, self.process.stdout, self._log):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


@contextlib.contextmanager
def chromium(*, width: int = 1280, height: int = 720) -> Iterator[Any]:
    """A browser context whose pages note errors (`context.faults`) and requests to elsewhere (`context.elsewhere`)."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), headless=True, args=ARGS)
        context = browser.new_context(viewport={"width": width, "height": height})
        context.set_default_timeout(60_000)
        context.faults, context.elsewhere = [], []
        own = ("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:")

        def watch(page: Any) -> None:
            page.on("pageerror", lambda e: context.faults.append(str(e)))
            page.on("console", lambda m: m.type == "error" and context.faults.append(m.text))
            page.on("response", lambda r: r.status >= 400 and context.faults.append(f"{r.status} {r.url}"))
            page.on("request", lambda r: r.url.startswith(own) or context.elsewhere.append(r.url))
            page.on("websocket", lambda w: w.url.startswith(own) or context.elsewhere.append(w.url))

        context.on("page", watch)
        yield context
        context.close()
        browser.close()


def open_live(context: Any, url: str) -> Any:
    """A page with a model that has been drawn; what the page says went wrong instead is raised at once."""
    page = context.new_page()
    page.goto(url)
    drawn = "window.__twin && window.__twin.live && window.__twin.live.updates > 0"
    page.wait_for_function(f"() => ({drawn}) || {WRONG}.test(document.body.innerText)")
    assert page.evaluate(f"() => !!({drawn})"), page.evaluate("() => document.body.innerText")
    return page


def leave(page: Any) -> None:
    """Close a page as a reader does: it says goodbye."""
    page.goto("about:blank")
    page.close()


def alive(server: PageServer, wanted: int, *, patience_s: float = 15.0) -> int:
    """Models alive, once there are as many as wanted or patience is over."""
    until = time.monotonic() + patience_s
    while (found := int(server.count()["alive"])) != wanted and time.monotonic() < until:
        time.sleep(0.2)
    return found
