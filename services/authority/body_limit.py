"""Reads a request's body before anything works on it, and refuses one that is too large or does not end."""

import asyncio

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.authority.errors import TooLarge, http_status
from services.common.errors import CalyxError, InvalidInput

MAX_BYTES = 16 * 1024
MAX_SECONDS = 10.0


class BodyLimit:
    """ASGI middleware; strangers reach the authority, so memory and waiting are bounded before the token is seen."""

    def __init__(self, app: ASGIApp, max_bytes: int = MAX_BYTES, max_seconds: float = MAX_SECONDS) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its whole body, or answer for it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            body = await asyncio.wait_for(self._read(receive), self._max_seconds)
        except TimeoutError:
            await _refuse(InvalidInput("the request's body does not end"), scope, receive, send)
            return
        except TooLarge as error:
            await _refuse(error, scope, receive, send)
            return
        if body is None:
            return
        whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return whole.pop() if whole else await receive()

        await self._app(scope, replay, send)

    async def _read(self, receive: Receive) -> bytes | None:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":  # the client is gone
                return None
            body += message.get("body", b"")
            if len(body) > self._max_bytes:
                raise TooLarge(f"the request's body has more than {self._max_bytes} bytes")
            if not message.get("more_body", False):
                return bytes(body)


async def _refuse(error: CalyxError, scope: Scope, receive: Receive, send: Send) -> None:
    answer = JSONResponse({"error": str(error)}, http_status(error), {"Connection": "close"})
    await answer(scope, receive, send)
