"""Serves the page and its files. They name no host, so the page works behind any proxy and path."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

_FOLDER = Path(__file__).parent
# Browsers keep the files, but ask whether they are still those: after an upgrade no old script meets a new page.
_REVALIDATED = {"Cache-Control": "no-cache"}


class PageFiles(StaticFiles):
    """The files that the page loads, from ``/static``."""

    def __init__(self) -> None:
        super().__init__(directory=_FOLDER / "static")

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file, or 304 to a browser that has it."""
        response = await super().get_response(path, scope)
        response.headers.update(_REVALIDATED)
        return response


def page_router() -> APIRouter:
    """Return the route of the page itself."""
    router = APIRouter()

    @router.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(_FOLDER / "index.html", headers=_REVALIDATED)

    return router
