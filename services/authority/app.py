"""Puts the authority's application together, with the one place where its errors become HTTP."""

import logging
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from services.authority.body_limit import BodyLimit
from services.authority.errors import TooManyAttempts, http_status
from services.authority.membership import Membership
from services.authority.routes import api_router
from services.common.errors import Broken, CalyxError
from services.common.logs import place_of

logger = logging.getLogger("authority")


def create_app(membership: Membership) -> FastAPI:
    """Return the application around ``membership``."""
    # FastAPI's own documentation pages load their scripts from another host.
    app = FastAPI(title="Calyx authority", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(BodyLimit)
    app.include_router(api_router(membership))

    @app.exception_handler(CalyxError)
    def expected(request: Request, error: CalyxError) -> JSONResponse:
        status = http_status(error)
        level = logging.ERROR if status == 500 else logging.INFO
        logger.log(level, "request refused", extra={"path": request.url.path, "reason": str(error)})
        headers = {"Retry-After": str(error.retry_after)} if isinstance(error, TooManyAttempts) else None
        return _failure(status, str(error), headers)

    @app.exception_handler(RequestValidationError)
    def malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        # Never the input, which may hold a secret.
        where = ".".join(part for part in first["loc"][1:] if isinstance(part, str)) or "the body"
        return _failure(422, " ".join(f"{where}: {first['msg']}".split()))

    @app.exception_handler(HTTPException)
    def unknown(_: Request, error: HTTPException) -> JSONResponse:
        return _failure(error.status_code, str(error.detail or HTTPStatus(error.status_code).phrase))

    @app.exception_handler(Exception)
    def unexpected(_: Request, error: Exception) -> JSONResponse:
        kind = type(error).__name__
        # By its kind and place alone, for its message could quote what a client sent.
        logger.error("request failed unexpectedly", extra={"kind": kind, "where": place_of(error)})
        return _failure(
            500,
            str(
                Broken(f"the authority failed unexpectedly ({kind})", "its log says where; please report it")
            ),
        )

    return app


def _failure(status: int, line: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": line}, status, headers)
