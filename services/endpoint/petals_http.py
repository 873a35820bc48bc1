"""``POST /api/v1/generate`` of chat.petals.dev: one text in, one text out, as form or JSON."""

import asyncio

from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect

from services.common.errors import CalyxError, InvalidInput, Unavailable
from services.endpoint.conversation import Conversation
from services.endpoint.errors import error_headers, http_status, presentable
from services.endpoint.generation import Chunk
from services.endpoint.http_requests import unless_gone
from services.endpoint.json_messages import dump, parse_json
from services.endpoint.models import Models
from services.endpoint.petals_messages import Generate, answer, failure, parse_form
from services.endpoint.scheduler import Scheduler

_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"


def petals_http_router(models: Models, scheduler: Scheduler) -> APIRouter:
    """Return the route.

    Args:
        models: the models to answer with.
        scheduler: runs the answers.
    """
    router = APIRouter()

    @router.post("/api/v1/generate")
    async def generate(request: Request) -> Response:
        try:
            message = _read(request, await request.body())
            chunk = await unless_gone(request.receive, _complete(message, models, scheduler))
        except ClientDisconnect:
            return Response(status_code=499)  # nobody reads it
        except asyncio.CancelledError:  # by the server, when it does not want to wait any longer
            return _refusal(Unavailable("the endpoint is stopping", "try again when it is back"))
        except Exception as error:
            return _refusal(presentable(error))
        return Response(dump(answer(chunk)), media_type=_JSON)

    return router


def _read(request: Request, body: bytes) -> Generate:
    kind = request.headers.get("content-type", _FORM).partition(";")[0].strip().lower()
    if kind == _JSON:
        return Generate.read(parse_json(body))
    if kind == _FORM:
        # chat.petals.dev reads both, and the address first
        return Generate.read(parse_form(body) | parse_form(request.scope["query_string"]), strict=False)
    raise InvalidInput(f"content type {kind[:100]!a} is not understood", f"send {_JSON} or {_FORM}")


async def _complete(message: Generate, models: Models, scheduler: Scheduler) -> Chunk:
    conversation = Conversation(models.get(message.model))
    try:
        return await scheduler.complete(conversation, message.to_request(streaming=False))
    finally:
        scheduler.end(conversation)


def _refusal(error: CalyxError) -> Response:
    return Response(dump(failure(error)), http_status(error), error_headers(error), _JSON)
