"""Puts the endpoint together; what it does is in the files it names."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from services.common.settings.endpoint import EndpointSettings
from services.endpoint.access import SameOrigin
from services.endpoint.models import Models
from services.endpoint.openai.router import openai_router
from services.endpoint.petals_http import petals_http_router
from services.endpoint.petals_ws import petals_ws_router
from services.endpoint.readiness import Readiness, readiness_router
from services.endpoint.scheduler import Scheduler


def create_app(settings: EndpointSettings, models: Models) -> FastAPI:
    """Return the application around ``models``, which it starts and closes."""
    scheduler = Scheduler(
        settings.max_running, settings.max_waiting, settings.request_timeout, settings.speculative_tokens
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        models.start()
        yield
        await scheduler.close()
        await asyncio.to_thread(models.close)

    # FastAPI's own documentation pages load their scripts from another host.
    app = FastAPI(title="Calyx endpoint", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(SameOrigin, allowed=settings.allowed_origins)
    app.include_router(readiness_router(Readiness(models)))
    app.include_router(petals_http_router(models, scheduler, settings.max_message_bytes))
    app.include_router(petals_ws_router(models, scheduler, settings.max_message_bytes, settings.idle_timeout))
    app.include_router(openai_router(models, scheduler, settings.max_message_bytes, settings.answer_tokens))
    return app
