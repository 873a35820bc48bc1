"""Puts the exporter together: the collector's loop runs as long as the application serves."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles

from services.health.collector import Collector
from services.health.exporter import registry_for
from services.health.page.routes import STATIC, page_router
from services.health.views import api_router

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


def create_app(collector: Collector, certificates: Path) -> FastAPI:
    """Return the application.

    Args:
        collector: is started and closed by it.
        certificates: see :class:`services.health.certificates.CertificateMetrics`.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        looking = asyncio.create_task(collector.run())
        yield
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking
        await collector.close()

    # FastAPI's own documentation pages load their scripts from another host.
    app = FastAPI(title="Calyx health", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)

    @app.middleware("http")
    async def secure(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call_next(request)
        response.headers.update(SECURITY_HEADERS)
        return response

    app.include_router(api_router(collector, registry_for(lambda: collector.knowledge, certificates)))
    app.include_router(page_router(collector))
    app.mount("/static", StaticFiles(directory=STATIC))
    return app
