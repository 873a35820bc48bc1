"""Puts the exporter together: the collector's loop runs as long as the application serves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.health.api.routes import api_router
from services.health.collector import Collector
from services.health.credits.creditor import Creditor
from services.health.exposition import Exposition
from services.health.page.events import events_router
from services.health.page.routes import STATIC, page_router

# The page shows what strangers announced: should an escape ever fail, a browser still runs none of it.
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class SecurityHeaders:
    """Adds them to every answer; it holds nothing back, so that streams flow and end with their readers.

    Args:
        app: what answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        await self._app(scope, receive, with_headers)


def create_app(
    collector: Collector, certificates: Path, disk: Path, creditor: Creditor | None = None
) -> FastAPI:
    """Return the application.

    Args:
        collector: is started and closed by it.
        certificates: see :class:`services.health.certificates.CertificateMetrics`.
        disk: see :class:`services.health.disk.DiskMetrics`.
        creditor: counts what nodes of a pool share, while the application lives; None where there is no pool.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loops = [asyncio.create_task(one.run()) for one in (collector, creditor) if one is not None]
        yield
        for loop in loops:
            loop.cancel()
            with suppress(asyncio.CancelledError):
                await loop
        await collector.close()

    ledger = (lambda: creditor.ledger) if creditor is not None else None
    exposition = Exposition(certificates, disk, ledger)
    collector.prepare = exposition.prepare

    # FastAPI's own documentation pages load their scripts from another host.
    app = FastAPI(
        title="Calyx health",
        version="2",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v2/openapi.json",
    )

    app.add_middleware(SecurityHeaders)
    app.include_router(api_router(collector, exposition, ledger))
    app.include_router(page_router(collector, ledger))
    app.include_router(events_router(collector))
    app.mount("/static", StaticFiles(directory=STATIC))
    return app
