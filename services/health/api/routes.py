"""The routes for programs: ``/api/v1``, ``/api/v2``, ``/metrics``, ``/healthz``. All but ``is_reachable`` answer from
memory."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from services.common.credits import Ledger
from services.common.errors import InvalidInput, Unavailable
from services.health.api.petals_state import petals_state
from services.health.api.schema import Credits, HistoryPoint, Reach, SwarmState
from services.health.api.state import state_document
from services.health.collector import Collector
from services.health.exposition import Exposition

_UNSEEN: dict[int | str, dict[str, Any]] = {
    503: {"description": "The swarm was not seen yet; the same shape."}
}
_METRICS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {}}, "description": "Prometheus' text format."}
}


def api_router(
    collector: Collector, exposition: Exposition, ledger: Callable[[], Ledger] | None = None
) -> APIRouter:
    """Return the routes for programs; ``ledger`` gives what nodes shared, None where nothing is counted."""
    router = APIRouter()

    @router.get("/api/v1/state", responses=_UNSEEN, summary="The swarm, as health.petals.dev says it")
    def petals() -> JSONResponse:
        document = petals_state(collector.knowledge, collector.period)
        return JSONResponse(document, status_code=200 if collector.knowledge.snapshot else 503)

    @router.get(
        "/api/v1/is_reachable/{peer_id}",
        response_model=Reach,
        responses={
            400: {"description": "That is no peer id."},
            503: {"description": "The swarm cannot be asked now."},
        },
        summary="Call a peer now",
    )
    async def is_reachable(peer_id: str, request: Request) -> JSONResponse:
        try:
            problem = await collector.reaches(peer_id)
        except (InvalidInput, Unavailable) as error:
            return JSONResponse(
                {"detail": str(error)}, status_code=400 if isinstance(error, InvalidInput) else 503
            )
        caller = request.client.host if request.client else ""
        return JSONResponse({"success": problem is None, "message": problem, "your_ip": caller})

    @router.get(
        "/api/v2/state", response_model=SwarmState, responses=_UNSEEN, summary="Everything that is known"
    )
    def state() -> JSONResponse:
        document = state_document(collector.knowledge, collector.period, collector.clock())
        return JSONResponse(document, status_code=200 if document["last_updated"] else 503)

    @router.get("/api/v2/history", summary="The minutes of a model over the last hours")
    def history(
        model: str = Query(max_length=500), hours: float = Query(default=6.0, gt=0, le=24)
    ) -> list[HistoryPoint]:
        points = collector.history.points(model, collector.clock() - 3600 * hours)
        return [
            HistoryPoint(
                time=60 * point.minute,
                blocks=point.blocks,
                blocks_online=point.blocks_online,
                servers_online=point.servers_online,
            )
            for point in points
        ]

    @router.get("/api/v2/credits", summary="What each node of the pool shared in all its time")
    def credits() -> Credits:
        return Credits(counted=ledger is not None, nodes=ledger().nodes if ledger else [])

    @router.get("/metrics", response_class=Response, responses=_METRICS, summary="Metrics for Prometheus")
    @router.get("/api/prometheus", response_class=Response, responses=_METRICS, summary="The same")
    async def metrics() -> Response:
        # The text is there already: handing this to a thread would only let it wait for one that looks at the swarm
        return Response(exposition.text(collector.knowledge), headers={"Content-Type": CONTENT_TYPE_LATEST})

    @router.get("/healthz", response_class=PlainTextResponse, summary="Whether the swarm was seen lately")
    def healthz() -> PlainTextResponse:
        healthy, line = collector.verdict()
        return PlainTextResponse(line + "\n", status_code=200 if healthy else 503)

    return router
