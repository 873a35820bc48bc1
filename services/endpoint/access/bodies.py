"""Reads the body of every request before its route does: bounded in size and in time."""

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.common.errors import CalyxError
from services.endpoint.access.refusal import refusal
from services.endpoint.errors import TooLarge, TooSlow
from services.endpoint.observing import Observer


class _Gone(Exception):
    """The client has left."""


class BoundedBodies:
    """ASGI middleware that hands a body on in one piece, or refuses it.

    Args:
        limit: the most bytes.
        patience: the most seconds that a body may take to come.
        observer: is told of refusals.
    """

    def __init__(self, app: ASGIApp, limit: int, patience: float, observer: Observer) -> None:
        self._app, self._limit, self._patience, self._observer = app, limit, patience, observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its whole body, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            body = await self._read(Headers(scope=scope), receive)
        except _Gone:
            return
        except CalyxError as error:
            self._observer.refused(error)
            await refusal(scope["path"], error)(scope, receive, send)
            return
        whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive_whole() -> Message:
            return whole.pop() if whole else await receive()

        await self._app(scope, receive_whole, send)

    async def _read(self, headers: Headers, receive: Receive) -> bytes:
        declared = headers.get("content-length", "")
        body, more = bytearray(), True
        too_large = declared.isdecimal() and int(declared[:20]) > self._limit
        try:
            async with asyncio.timeout(self._patience):
                while more and not too_large:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise _Gone
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    too_large = len(body) > self._limit
        except TimeoutError:
            raise TooSlow(
                f"the request's body took longer than {self._patience:g} s", "send it faster"
            ) from None
        if too_large:
            raise TooLarge(f"the body has more than {self._limit} bytes", "send a shorter text")
        return bytes(body)
