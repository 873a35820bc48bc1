"""Puts the endpoint together; what it does is in the files it names."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from services.common.settings.endpoint import EndpointSettings
from services.endpoint.access.admission import Access
from services.endpoint.access.bodies import BoundedBodies
from services.endpoint.access.gate import KeyGate
from services.endpoint.access.keys import KeyFile
from services.endpoint.access.origin import SameOrigin
from services.endpoint.grpc_api.server import grpc_served
from services.endpoint.metrics import EndpointMetrics, LoadMetrics, metrics_router, watch_process
from services.endpoint.model_status import model_status_router
from services.endpoint.models import Models
from services.endpoint.openai.router import openai_router
from services.endpoint.openapi import DocumentedApi
from services.endpoint.page.routes import PageFiles, page_router
from services.endpoint.petals_http import petals_http_router
from services.endpoint.petals_ws import petals_ws_router
from services.endpoint.readiness import Readiness, readiness_router
from services.endpoint.scheduler import Scheduler
from services.endpoint.security_headers import SecurityHeaders
from services.endpoint.served_metrics import ServedMetrics


def create_app(settings: EndpointSettings, models: Models, grpc_address: str | None = None) -> FastAPI:
    """Return the application around ``models``, which it starts and closes.

    Args:
        settings: limits and times.
        models: the models to answer with.
        grpc_address: where gRPC is served as long as the application lives, as ``host:port``; None for nowhere.
    """
    registry = CollectorRegistry()
    metrics = EndpointMetrics(registry)
    scheduler = Scheduler(
        settings.max_running,
        settings.max_waiting,
        settings.request_timeout,
        settings.speculative_tokens,
        metrics,
    )
    registry.register(LoadMetrics(scheduler, models.memory_bytes))
    registry.register(ServedMetrics(models.served_tokens))
    watch_process(registry)
    access = Access(KeyFile(settings.keys_file), metrics)
    readiness = Readiness(models)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        models.start()
        async with grpc_served(models, scheduler, readiness, access, settings, grpc_address):
            yield
            await scheduler.close()
        await asyncio.to_thread(models.close)

    app = DocumentedApi(title="Calyx endpoint", lifespan=lifespan)
    # What is added last comes first: nothing reads the body of a caller who is not let in.
    app.add_middleware(
        BoundedBodies,
        limit=settings.max_message_bytes,
        patience=settings.client_timeout,
        observer=metrics,
    )
    app.add_middleware(KeyGate, access=access)
    app.add_middleware(SameOrigin, allowed=settings.allowed_origins)
    app.add_middleware(SecurityHeaders)
    app.include_router(metrics_router(registry))
    app.include_router(readiness_router(readiness))
    app.include_router(model_status_router(readiness))
    app.include_router(petals_http_router(models, scheduler))
    app.include_router(petals_ws_router(models, scheduler, settings.max_message_bytes, settings.idle_timeout))
    app.include_router(openai_router(models, scheduler, settings.answer_tokens))
    app.include_router(page_router())
    app.mount("/static", PageFiles())
    return app
