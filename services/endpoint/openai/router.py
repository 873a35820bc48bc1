"""The routes of the OpenAI API."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect

from services.common.errors import InvalidInput, Unavailable
from services.endpoint.access.gate import ticket_of
from services.endpoint.errors import UnknownModel, presentable
from services.endpoint.http_requests import unless_gone
from services.endpoint.json_messages import dump, parse_json
from services.endpoint.models import Models
from services.endpoint.openai.errors import error_response, failure
from services.endpoint.openai.event_stream import EventStream
from services.endpoint.openai.schema import ChatRequest, CompletionRequest, Sampled
from services.endpoint.openai.serving import Answering, Serving
from services.endpoint.scheduler import Scheduler

_JSON = "application/json"
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

Kind = TypeVar("Kind", bound=Sampled)


def openai_router(models: Models, scheduler: Scheduler, answer_tokens: int) -> APIRouter:
    """Return the routes.

    Args:
        models: the models to answer with.
        scheduler: runs the answers.
        answer_tokens: the most tokens of an answer whose request does not say it.
    """
    router = APIRouter(prefix="/v1")
    serving = Serving(models, scheduler, answer_tokens)

    @router.get("/models")
    async def list_models() -> Response:
        return _json({"object": "list", "data": serving.models()})

    @router.get("/models/{name:path}")
    async def one_model(name: str) -> Response:
        found = next((model for model in serving.models() if model["id"] == name), None)
        if found is None:
            return error_response(UnknownModel(f"model {name[:100]!a} is not served here", "see /v1/models"))
        return _json(found)

    @router.post("/chat/completions")
    async def chat(request: Request) -> Response:
        return await _answer(request, ChatRequest, serving.chat)

    @router.post("/completions")
    async def complete(request: Request) -> Response:
        return await _answer(request, CompletionRequest, serving.completion)

    @router.api_route("/{path:path}", methods=_METHODS, include_in_schema=False)
    async def unknown(request: Request, path: str) -> Response:
        takes = "POST" if path in {"chat/completions", "completions"} else "GET"
        if path in {"chat/completions", "completions", "models"} or path.startswith("models/"):
            error = InvalidInput(f"/v1/{path} does not take {request.method}", f"send {takes}")
            return _json(failure(error), 405, {"allow": takes})
        return _json(
            failure(InvalidInput(f"there is no {request.url.path[:100]!a}", "see docs/endpoint.md")), 404
        )

    return router


async def _answer(
    request: Request, kind: type[Kind], serve: Callable[[Kind], Awaitable[Answering]]
) -> Response:
    try:
        message = kind.read(_parse(request, await request.body()))
        answering = await serve(message)
        ticket_of(request.scope).widen(len(answering.requests))
        if not message.stream:
            return _json(await unless_gone(request.receive, answering.whole()))
        events = answering.stream()
        return EventStream(await unless_gone(request.receive, anext(events)), events)
    except ClientDisconnect:
        return Response(status_code=499)  # nobody reads it
    except asyncio.CancelledError:  # by the server, when it does not want to wait any longer
        return error_response(Unavailable("the endpoint is stopping", "try again when it is back"))
    except Exception as error:
        return error_response(presentable(error))


def _parse(request: Request, body: bytes) -> dict[str, Any]:
    kind = request.headers.get("content-type", _JSON).partition(";")[0].strip().lower()
    if kind != _JSON:
        raise InvalidInput(f"content type {kind[:100]!a} is not understood", f"send {_JSON}")
    return parse_json(body)


def _json(message: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(dump(message), status, headers, _JSON)
