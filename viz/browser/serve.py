"""`twin ui`: checks what is asked for, then serves the page on this machine until it is stopped."""

from __future__ import annotations

import errno
import importlib.util
import os
import socket
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maps.network import CityMap
    from runs.scenario import Scenario

HOST = "127.0.0.1"
PORT = 8765
PORTS_TRIED = 50


class PageError(ValueError):
    """The page cannot be served; the message is one line for the user."""


@dataclass(frozen=True, eq=False)
class Opening:
    """What the page shows: a scenario on its map, or one or two results folders."""

    scenario: Scenario | None = None
    city: CityMap | None = None
    runs: tuple[Path, ...] = ()

    @property
    def title(self) -> str:
        """For the page's bar."""
        return " and ".join(p.name for p in self.runs) if self.runs else self.scenario.name if self.scenario else ""


opening = Opening()
"""What this process serves; every browser session builds its own model from it."""


def open_page(
    *,
    scenario: Scenario | None = None,
    runs: Sequence[Path] = (),
    port: int | None = None,
    say: Callable[[str], None] | None = None,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve the page until SIGINT or SIGTERM.

    Parameters
    ----------
    scenario : Scenario, optional
        To run live.
    runs : sequence of Path
        One or two results folders to look at instead.
    port : int, optional
        Default `PORT`, or the next one that is free; a port that was asked for is used or refused.
    say, ready : callable, optional
        Told what happens, and the address once the page can be opened.

    Raises
    ------
    PageError
        When the `ui` extra is not installed, or the port is taken.
    ResultsError, MapError
        When a folder or the map cannot be read.
    """
    missing = [name for name in ("solara", "anywidget", "solara_assets") if not _installed(name)]
    if missing:
        raise PageError(f"twin ui needs {missing[0]}, which is not installed; pip install 'fleet-twin[ui]'")
    check_runs(runs)
    listener = listen(port)
    try:
        city = scenario.city(say=say) if scenario is not None else None
        if scenario is not None:
            warm(scenario, say)
        global opening  # noqa: PLW0603 - Solara finds the page by module name and can hand it nothing
        opening = Opening(scenario, city, tuple(runs))
        _serve(listener, ready)
    finally:
        listener.close()


def warm(scenario: Scenario, say: Callable[[str], None] | None) -> None:
    """Load the kernels, compiling those that no cache holds, so that the first press of play does not wait for it."""
    if say is not None:
        say("loading kernels (compiled once, which takes a minute or two)")
    from maps.toy import toy_city

    small = type(scenario)(map="toy", start=scenario.start, until="1h").but(fleet__cars=30, demand__other_traffic=0.1)
    twin = small.build_on(toy_city(4))
    for _ in range(3):
        twin.step()


def check_runs(runs: Sequence[Path]) -> None:
    """Refuse folders that cannot be shown, before anything is started.

    Raises
    ------
    PageError, ResultsError
    """
    from viz.folder import Folder
    from viz.streets import streets_of

    if len(runs) > 2:
        raise PageError(f"{len(runs)} results folders; the page shows one, or two side by side")
    for path in runs:
        if streets_of(Folder.open(path)) is None:
            raise PageError(f"{path}: the run wrote no map.parquet, so there is nothing to draw")


def listen(port: int | None) -> socket.socket:
    """A socket on the loopback address.

    Raises
    ------
    PageError
        When the port is taken (the line offers the next free one) or not a port.
    """
    wanted = PORT if port is None else port
    if not 1 <= wanted <= 65_535:
        raise PageError(f"--port {wanted}: must be from 1 to 65535")
    found = _bind(wanted)
    if isinstance(found, socket.socket):
        return found
    free = next_free(wanted)
    if found == errno.EADDRINUSE:
        raise PageError(f"--port {wanted}: is in use; free is --port {free}")
    raise PageError(f"--port {wanted}: cannot be used ({os.strerror(found)}); free is --port {free}")


def next_free(port: int) -> int:
    """The first port after `port` that nobody listens on."""
    for other in range(max(port, 1023) + 1, min(max(port, 1023) + PORTS_TRIED, 65_535) + 1):
        found = _bind(other)
        if isinstance(found, socket.socket):
            found.close()
            return other
    with socket.create_server((HOST, 0)) as any_port:
        return int(any_port.getsockname()[1])


def _bind(port: int) -> socket.socket | int:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((HOST, port))
        made.listen(64)
    except OSError as error:
        made.close()
        return error.errno or errno.EINVAL
    return made


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _settings() -> None:
    """Solara as this page needs it, whatever the environment says: no telemetry, no downloads, short memory."""
    for name in list(os.environ):
        if name.upper().startswith("SOLARA_"):
            del os.environ[name]
    os.environ["SOLARA_TELEMETRY_MIXPANEL_ENABLE"] = "false"
    os.environ["SOLARA_KERNEL_CULL_TIMEOUT"] = "60s"
    os.environ["SOLARA_KERNEL_MAX_PER_SESSION"] = "0"
    os.environ["SOLARA_THEME_SHOW_BANNER"] = "false"


def stored_asset(folder: Path, path: str) -> Path:
    """A file of the installed solara-assets.

    Raises
    ------
    FileNotFoundError
        When it is not there, or not inside the folder.
    """
    name = path if "/" in path else f"{path}/__main.js"
    found = (folder / name).resolve()
    if not found.is_relative_to(folder.resolve()) or not found.is_file():
        raise FileNotFoundError(path)
    return found


def _serve(listener: socket.socket, ready: Callable[[str], None] | None) -> None:
    _settings()
    # while a twin plays, the thread that talks to the page gets its turn sooner than after Python's 5 ms
    sys.setswitchinterval(0.001)
    import uvicorn
    from solara.server import app as apps
    from solara.server import settings, starlette

    from viz.browser.guard import Guard

    starlette.get_path = stored_asset  # Solara's own downloads what it lacks
    settings.telemetry.mixpanel_enable = False
    settings.theme.title = "Fleet twin"
    settings.main.mode = "production"
    apps.apps["__default__"] = apps.AppScript("viz.browser.app")
    port = int(listener.getsockname()[1])
    guarded: Any = Guard(starlette.app, port=port)

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if ready is not None and self.started:
                ready(f"http://{HOST}:{port}")

    # its remarks on cookies of pages served to other machines are not about this one
    warnings.filterwarnings("ignore", "(?s)Cookies with samesite=none", UserWarning)
    config = uvicorn.Config(
        guarded, host=HOST, port=port, log_level="warning", access_log=False, server_header=False,
        timeout_graceful_shutdown=2, ws_per_message_deflate=False, ws_max_size=1 << 26, proxy_headers=False,
    )  # fmt: skip
    Server(config).run(sockets=[listener])
