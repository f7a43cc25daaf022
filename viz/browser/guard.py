"""Who may talk to the page's server: browsers on this machine that were sent here by this page itself."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SERVED = re.compile(
    r"/|/readyz|/static/(?!public/)[\w@./+~-]+|/_solara/cdn/[\w@./+~-]+|/_solara/api/close/[\w-]+"
    r"|/jupyter/nbextensions/(?:jupyter-vuetify|jupyter-vue|jupyter-js-widgets|anywidget)/[\w@./+~-]+|/jupyter/api/kernels/[\w-]+(?:/[\w-]+)?"
)
"""Paths of the page, of Solara's own files and of the page's channel; everything else is not there."""

HEADERS = [
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]


class Guard:
    """An ASGI application around the server's own.

    Parameters
    ----------
    app : ASGI application
    port : int
        Port it is served on: part of the host and origin that are accepted.

    Notes
    -----
    A page elsewhere can make a browser send requests to 127.0.0.1, and a name elsewhere can be made to point there (DNS
    rebinding). So the `Host` must be this machine's, on HTTP and on WebSocket, and an `Origin` must be this page.
    """

    def __init__(self, app: App, *, port: int) -> None:
        self.app = app
        hosts = [f"{name}:{port}" for name in ("127.0.0.1", "localhost")]
        self.hosts = {host.encode() for host in hosts}
        self.origins = {f"http://{host}".encode() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, or refuse with 403 or 404."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        refused = self.refusal(scope)
        if scope["type"] == "websocket":
            if refused:
                await receive()
                await send({"type": "websocket.close", "code": 1008, "reason": refused[1]})
                return
            await self.app(scope, receive, send)
            return
        if refused:
            status, why = refused
            head = [(b"content-type", b"text/plain; charset=utf-8"), *HEADERS]
            await send({"type": "http.response.start", "status": status, "headers": head})
            await send({"type": "http.response.body", "body": why.encode()})
            return

        async def guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *HEADERS]
            await send(message)

        await self.app(scope, receive, guarded)

    def refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Why a request is not served: status and reason; None when it is."""
        named: dict[bytes, list[bytes]] = {}
        for name, value in scope.get("headers", []):
            named.setdefault(name.lower(), []).append(value)
        hosts, origins = named.get(b"host", []), named.get(b"origin", [])
        if len(hosts) != 1 or hosts[0].lower() not in self.hosts:
            return 403, "this page is served to this machine only, as 127.0.0.1 or localhost"
        if any(origin.lower() not in self.origins for origin in origins):
            return 403, "another page asked for this"
        if named.get(b"sec-fetch-site", [b""])[0] == b"cross-site" and named.get(b"sec-fetch-mode") != [b"navigate"]:
            return 403, "another page asked for this"
        if scope["type"] == "http" and scope["method"] not in {"GET", "HEAD", "POST"}:
            return 403, "not a method of this page"
        path = scope["path"]
        if ".." in path or "\\" in path or not SERVED.fullmatch(path):
            return 404, "not part of this page"
        return None
