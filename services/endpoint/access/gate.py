"""Lets a request in by its API key; what tells whether the endpoint works, and the page itself, need none."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from services.common.errors import CalyxError
from services.endpoint.access.admission import Access, Ticket
from services.endpoint.access.refusal import refusal
from services.endpoint.places import CALLER

SUBPROTOCOL = "calyx"
_KEY_SUBPROTOCOL = f"{SUBPROTOCOL}.key."
_PUBLIC = frozenset({"/", "/favicon.ico", "/healthz", "/metrics", "/openapi.json", "/readyz"})
_PUBLIC_FOLDER = "/static/"
_TICKET = "calyx.ticket"


class KeyGate:
    """ASGI middleware that refuses who has no valid key, or uses one for more than it is good for."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its ticket, or refuse it before anything reads it."""
        kind, path = scope["type"], scope.get("path", "")
        if kind not in {"http", "websocket"} or (kind == "http" and _is_public(path)):
            await self._app(scope, receive, send)
            return
        if kind == "websocket":
            send = _with_subprotocol(scope["subprotocols"], send)
        try:
            ticket = self._access.admit(_authorization(scope))
        except CalyxError as error:
            await _refuse(error, scope, receive, send)
            return
        with ticket:
            try:
                # Over a WebSocket requests come later, see ``ticket_of``
                if kind == "http":
                    ticket.spend()
            except CalyxError as error:
                await _refuse(error, scope, receive, send)
                return
            CALLER.set(ticket.owner or _address(scope))
            scope[_TICKET] = ticket
            await self._app(scope, receive, send)


def ticket_of(scope: Scope) -> Ticket:
    """Return the ticket of a connection, which counts each request that comes over it."""
    ticket: Ticket = scope[_TICKET]
    return ticket


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


def _is_public(path: str) -> bool:
    return path in _PUBLIC or path.startswith(_PUBLIC_FOLDER)


def _authorization(scope: Scope) -> str | None:
    """Return the header, or what stands for it where a browser opens a WebSocket, which can set none.

    A key in the address would be in the logs of every proxy on the way, and in the browser's history.
    """
    authorization = Headers(scope=scope).get("authorization")
    if authorization is None and scope["type"] == "websocket":
        for offered in scope["subprotocols"]:
            if offered.startswith(_KEY_SUBPROTOCOL):
                authorization = f"Bearer {offered.removeprefix(_KEY_SUBPROTOCOL)}"
    return authorization


def _with_subprotocol(offered: list[str], send: Send) -> Send:
    """Choose ours if it is offered: a browser ends a connection that chooses none of those it offers."""
    if SUBPROTOCOL not in offered:
        return send

    async def send_chosen(message: Message) -> None:
        if message["type"] == "websocket.accept":
            message["subprotocol"] = SUBPROTOCOL
        await send(message)

    return send_chosen


async def _refuse(error: CalyxError, scope: Scope, receive: Receive, send: Send) -> None:
    response = refusal(scope["path"], error)
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).send_denial_response(response)
    else:
        await response(scope, receive, send)
