"""Keeps other people's web pages out: a page may call the endpoint only from its own origin.

The endpoint listens on the user's own machine and asks for no password, so without this any page that the
user visits could open a WebSocket to ``localhost`` and compute with the user's swarm: browsers apply the
same-origin rule to neither WebSockets nor plain forms. Programs send no ``Origin`` and pass.

A name proves nothing: its owner may let it point to this machine once the page is loaded (DNS rebinding), and the
browser then takes page and endpoint for one origin. So the endpoint's own pages are those of ``localhost`` and of
bare addresses, which nobody can point elsewhere; another name that the endpoint has is listed like any origin.
"""

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket


class SameOrigin:
    """ASGI middleware that answers 403 to a page of another origin.

    Args:
        allowed: origins, such as ``https://example.org``, that may call nevertheless.
    """

    def __init__(self, app: ASGIApp, allowed: Collection[str] = ()) -> None:
        self._app = app
        self._allowed = frozenset(allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it before anything reads it."""
        if scope["type"] not in {"http", "websocket"} or self._passes(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        refusal = PlainTextResponse(
            "pages of another origin may not call the endpoint - list theirs in CALYX_ALLOWED_ORIGINS\n",
            status_code=403,
        )
        if scope["type"] == "websocket":
            await WebSocket(scope, receive, send).send_denial_response(refusal)
        else:
            await refusal(scope, receive, send)

    def _passes(self, headers: Headers) -> bool:
        origin = headers.get("origin")
        if origin is None or origin in self._allowed:
            return True
        return origin.partition("://")[2] == headers.get("host", "") and _names_this_machine(origin)


def _names_this_machine(origin: str) -> bool:
    try:
        host = urlsplit(origin).hostname or ""
        if host == "localhost":
            return True
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
