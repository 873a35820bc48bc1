"""Errors in the form of OpenAI's API."""

from typing import Any

from fastapi import Response

from services.common.errors import CalyxError, InvalidInput, Refused, Unavailable
from services.endpoint.errors import TooLong, UnknownModel, WrongField, http_status
from services.endpoint.http_requests import retry_after
from services.endpoint.json_messages import dump

_CODES: tuple[tuple[type[CalyxError], str], ...] = (
    (UnknownModel, "model_not_found"),
    (TooLong, "context_length_exceeded"),
    (Refused, "overloaded"),
    (Unavailable, "unavailable"),
)
_PARAMS = {"stop sequences": "stop"}
"""What fields of the generation core are called in this API, if not the same."""


def failure(error: CalyxError) -> dict[str, Any]:
    """Return the body of an error."""
    return {
        "error": {
            "message": str(error),
            "type": "invalid_request_error" if isinstance(error, InvalidInput) else "server_error",
            "param": _param(error),
            "code": next((code for kind, code in _CODES if isinstance(error, kind)), None),
        }
    }


def error_response(error: CalyxError) -> Response:
    """Return an error as a whole response."""
    return Response(dump(failure(error)), http_status(error), retry_after(error), "application/json")


def _param(error: CalyxError) -> str | None:
    if isinstance(error, UnknownModel):
        return "model"
    return _PARAMS.get(error.field, error.field) if isinstance(error, WrongField) else None
