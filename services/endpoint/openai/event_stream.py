"""A response of server-sent events, as the OpenAI API streams."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.common.errors import CalyxError, Unavailable
from services.endpoint.errors import presentable
from services.endpoint.http_requests import unless_gone
from services.endpoint.json_messages import dump
from services.endpoint.openai.errors import failure


class EventStream(Response):
    """Sends events until they end, fail, or the client goes away. Only those that ended are followed by ``[DONE]``.

    Args:
        first: the first event. That it is there shows that the request is being answered.
        others: the events behind it; closed in any case.
    """

    media_type = "text/event-stream"

    def __init__(self, first: dict[str, Any], others: AsyncGenerator[dict[str, Any]]) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._first, self._others = first, others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        last = "[DONE]"
        try:
            await unless_gone(receive, self._send_all(send))
        except ClientDisconnect:
            return
        except asyncio.CancelledError:  # by the server, when it does not want to wait any longer
            last = _told(Unavailable("the endpoint is stopping", "try again when it is back"))
        except Exception as error:
            last = _told(presentable(error))
        await send({"type": "http.response.body", "body": _event(last), "more_body": False})

    async def _send_all(self, send: Send) -> None:
        async with aclosing(self._others):
            await _send(send, self._first)
            async for event in self._others:
                await _send(send, event)


async def _send(send: Send, event: dict[str, Any]) -> None:
    await send({"type": "http.response.body", "body": _event(dump(event)), "more_body": True})


def _event(data: str) -> bytes:
    return f"data: {data}\n\n".encode()


def _told(error: CalyxError) -> str:
    return dump(failure(error))
