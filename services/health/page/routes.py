"""The route of the page for people."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from services.health.collector import Collector
from services.health.page.render import render_page

STATIC = Path(__file__).parent / "static"


def page_router(collector: Collector) -> APIRouter:
    """Return the route for people; it answers from memory, also before the swarm was seen."""
    router = APIRouter()

    @router.get("/")
    def page() -> HTMLResponse:
        return HTMLResponse(render_page(collector.knowledge, collector.period, collector.clock()))

    return router
