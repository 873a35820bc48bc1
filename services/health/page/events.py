"""Tells open pages when the collector knows something new, by server-sent events."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response, StreamingResponse

from services.health.collector import Collector

MAX_LISTENERS = 256
SILENCE_SECONDS = 15.0
"""A comment is sent after so long without news, so that proxies keep the connection and lost pages are noticed."""


class Listeners:
    """The open streams.

    Args:
        collector: has the news.
        silence: seconds between two signs of life.
    """

    def __init__(self, collector: Collector, silence: float = SILENCE_SECONDS) -> None:
        self._collector, self._silence = collector, silence
        self.count = 0

    async def stream(self) -> AsyncIterator[str]:
        """Yield an event for each look, and signs of life between them."""
        self.count += 1
        try:
            yield "retry: 3000\n\n"
            while True:
                try:
                    async with asyncio.timeout(self._silence):
                        await self._collector.change()
                    yield "event: look\ndata: {}\n\n"
                except TimeoutError:
                    yield ": still here\n\n"
        finally:
            self.count -= 1


def events_router(collector: Collector) -> APIRouter:
    """Return the route ``/events``."""
    router = APIRouter()
    listeners = Listeners(collector)

    @router.get("/events", include_in_schema=False)
    async def events() -> Response:
        if listeners.count >= MAX_LISTENERS:
            return JSONResponse({"detail": "too many pages are open"}, status_code=503)
        return StreamingResponse(listeners.stream(), media_type="text/event-stream")

    return router
