"""What the exporter answers to programs: ``/api/v1/state``, ``/metrics`` and ``/healthz``."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from services.health.collector import Collector, Knowledge
from services.health.snapshot import Model


def state_document(knowledge: Knowledge, period: float, now: float) -> dict[str, Any]:
    """Return the body of ``/api/v1/state``; its shape is the same with and without a snapshot.

    Args:
        knowledge: what the collector knows.
        period: seconds between two looks.
        now: the current time in seconds since the epoch.
    """
    snapshot = knowledge.snapshot
    age = knowledge.age(now)
    return {
        "last_updated": datetime.fromtimestamp(snapshot.taken_at, UTC).isoformat() if snapshot else None,
        "age_seconds": None if age is None else round(age, 3),
        "update_period": period,
        "models": [_model_document(model) for model in snapshot.models] if snapshot else [],
        "left_out": snapshot.left_out if snapshot else 0,
        "error": knowledge.error,
    }


def _model_document(model: Model) -> dict[str, Any]:
    return {
        "name": model.name,
        "dht_prefix": model.dht_prefix,
        "repository": model.repository,
        "num_blocks": model.num_blocks,
        "healthy": model.healthy,
        "missing_blocks": list(model.missing_blocks),
        "blocks": list(model.replicas),
        "servers": [asdict(server) for server in model.servers],
    }


def api_router(collector: Collector, registry: CollectorRegistry) -> APIRouter:
    """Return the routes for programs; each answers from memory."""
    router = APIRouter()

    @router.get("/api/v1/state")
    def state() -> Response:
        document = state_document(collector.knowledge, collector.period, collector.clock())
        return JSONResponse(document, status_code=200 if document["last_updated"] else 503)

    @router.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    @router.get("/healthz")
    def healthz() -> Response:
        healthy, line = collector.verdict()
        return PlainTextResponse(line + "\n", status_code=200 if healthy else 503)

    return router
