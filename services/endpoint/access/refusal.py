"""Refusals that come before any route: in the form that the clients of that route understand."""

from starlette.responses import Response

from services.common.errors import CalyxError
from services.endpoint.errors import TooSlow, error_headers, http_status
from services.endpoint.json_messages import dump
from services.endpoint.openai import errors as openai
from services.endpoint.petals_messages import failure

_OPENAI = "/v1/"


def refusal(path: str, error: CalyxError) -> Response:
    """Return the response: OpenAI's form below ``/v1``, chat.petals.dev's elsewhere."""
    headers = error_headers(error)
    if isinstance(error, TooSlow):
        headers["connection"] = "close"  # what is left of the body is not waited for
    form = openai.failure(error) if path.startswith(_OPENAI) else failure(error)
    return Response(dump(form), http_status(error), headers, "application/json")
