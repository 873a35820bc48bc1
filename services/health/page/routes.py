"""The route of the page for people."""

from collections.abc import Callable
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from services.common.credits import Ledger
from services.health.collector import Collector
from services.health.page.plot import HOURS, plot
from services.health.page.render import render_page

STATIC = Path(__file__).parent / "static"


def page_router(collector: Collector, ledger: Callable[[], Ledger] | None = None) -> APIRouter:
    """Return the route for people; it answers from memory, also before the swarm was seen.

    Args:
        collector: knows the swarm.
        ledger: gives what nodes shared; None where nothing is counted.
    """
    router = APIRouter()

    @router.get("/", include_in_schema=False)
    def page() -> HTMLResponse:
        now, knowledge = collector.clock(), collector.knowledge
        plots = {
            model.name: plot(collector.history.points(model.name, now - 3600 * HOURS), now)
            for model in (knowledge.snapshot.models if knowledge.snapshot else ())
        }
        nodes = ledger().nodes if ledger else []
        return HTMLResponse(render_page(knowledge, collector.period, now, plots, nodes))

    return router
