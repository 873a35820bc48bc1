"""Errors in the form of OpenAI's API."""

from typing import Any

from fastapi import Response

from services.common.errors import CalyxError, Refused, Unavailable
from services.endpoint.errors import (
    OverLimit,
    TooLong,
    Unauthorized,
    UnknownModel,
    WrongField,
    error_headers,
    http_status,
)
from services.endpoint.json_messages import dump

_CODES: tuple[tuple[type[CalyxError], str], ...] = (
    (UnknownModel, "model_not_found"),
    (TooLong, "context_length_exceeded"),
    (Unauthorized, "invalid_api_key"),
    (OverLimit, "rate_limit_exceeded"),
    (Refused, "overloaded"),
    (Unavailable, "unavailable"),
)
_OURS = 500
"""The first HTTP status that says: it is not the caller's mistake."""
_PARAMS = {"stop sequences": "stop"}
"""What fields of the generation core are called in this API, if not the same."""


def failure(error: CalyxError) -> dict[str, Any]:
    """Return the body of an error."""
    return {
        "error": {
            "message": str(error),
            "type": "invalid_request_error" if http_status(error) < _OURS else "server_error",
            "param": _param(error),
            "code": next((code for kind, code in _CODES if isinstance(error, kind)), None),
        }
    }


def error_response(error: CalyxError) -> Response:
    """Return an error as a whole response."""
    return Response(dump(failure(error)), http_status(error), error_headers(error), "application/json")


def _param(error: CalyxError) -> str | None:
    if isinstance(error, UnknownModel):
        return "model"
    return _PARAMS.get(error.field, error.field) if isinstance(error, WrongField) else None
