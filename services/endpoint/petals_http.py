"""``POST /api/v1/generate`` of chat.petals.dev: one text in, one text out, as form or JSON."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect

from services.common.errors import CalyxError, InvalidInput, Refused, Unavailable
from services.endpoint.conversation import Conversation
from services.endpoint.errors import TooLarge, http_status, presentable
from services.endpoint.generation import Chunk
from services.endpoint.models import Models
from services.endpoint.petals_messages import Generate, answer, dump, failure, parse_form, parse_json
from services.endpoint.scheduler import Scheduler

_RETRY_AFTER_SECONDS = "5"
_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"


def petals_http_router(models: Models, scheduler: Scheduler, max_body_bytes: int) -> APIRouter:
    """Return the route.

    Args:
        models: the models to answer with.
        scheduler: runs the answers.
        max_body_bytes: the largest request body.
    """
    router = APIRouter()

    @router.post("/api/v1/generate")
    async def generate(request: Request) -> Response:
        try:
            message = _read(request, await _body(request, max_body_bytes))
            chunk = await _unless_gone(request, _complete(message, models, scheduler))
        except ClientDisconnect:
            return Response(status_code=499)  # nobody reads it
        except asyncio.CancelledError:  # by the server, when it does not want to wait any longer
            return _refusal(Unavailable("the endpoint is stopping", "try again when it is back"))
        except Exception as error:
            return _refusal(presentable(error))
        return Response(dump(answer(chunk)), media_type=_JSON)

    return router


async def _body(request: Request, limit: int) -> bytes:
    body = bytearray()
    declared = request.headers.get("content-length", "")
    too_large = declared.isdecimal() and int(declared[:20]) > limit
    if not too_large:
        async for part in request.stream():
            body += part
            if too_large := len(body) > limit:
                break
    if too_large:
        raise TooLarge(f"the body has more than {limit} bytes", "send a shorter text")
    return bytes(body)


def _read(request: Request, body: bytes) -> Generate:
    kind = request.headers.get("content-type", _FORM).partition(";")[0].strip().lower()
    if kind == _JSON:
        return Generate.read(parse_json(body))
    if kind == _FORM:
        return Generate.read(parse_form(body), strict=False)
    raise InvalidInput(f"content type {kind[:100]!a} is not understood", f"send {_JSON} or {_FORM}")


async def _complete(message: Generate, models: Models, scheduler: Scheduler) -> Chunk:
    conversation = Conversation(models.get(message.model))
    try:
        return await scheduler.complete(conversation, message.to_request(streaming=False))
    finally:
        scheduler.end(conversation)


async def _unless_gone(request: Request, work: Coroutine[Any, Any, Chunk]) -> Chunk:
    """Await the work, and cancel it when the client disconnects meanwhile."""
    working = asyncio.create_task(work)
    # The body was read, so the only message left is that of the disconnection.
    gone = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait([working, gone], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        gone.cancel()


def _refusal(error: CalyxError) -> Response:
    headers = {"retry-after": _RETRY_AFTER_SECONDS} if isinstance(error, (Unavailable, Refused)) else None
    return Response(dump(failure(error)), http_status(error), headers, _JSON)
