"""Where errors become status codes over gRPC; nothing else here chooses one for an error."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from services.common.errors import CalyxError, InvalidInput, Refused, Unavailable
from services.endpoint.errors import OutOfTime, UnknownModel, presentable

_CODES: tuple[tuple[type[CalyxError], grpc.StatusCode], ...] = (
    (UnknownModel, grpc.StatusCode.NOT_FOUND),
    (InvalidInput, grpc.StatusCode.INVALID_ARGUMENT),
    (Refused, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (OutOfTime, grpc.StatusCode.DEADLINE_EXCEEDED),
    (Unavailable, grpc.StatusCode.UNAVAILABLE),
)

_Method = Callable[[Any, grpc.aio.ServicerContext], Awaitable[Any]]


def status_code(error: CalyxError) -> grpc.StatusCode:
    """Return the status of an error; only what is broken on our side is INTERNAL."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), grpc.StatusCode.INTERNAL)


class Boundary(grpc.aio.ServerInterceptor):
    """Stands around every method that takes one message; the message is parsed inside it, too."""

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], details: grpc.HandlerCallDetails
    ) -> Any:
        """Return the method's handler with the boundary around what it does."""
        handler = await continuation(details)
        if handler is None or handler.request_streaming:
            return handler
        kind = "unary_stream" if handler.response_streaming else "unary_unary"
        method = _bounded(getattr(handler, kind), handler.request_deserializer)
        return handler._replace(request_deserializer=None, **{kind: method})


def _bounded(method: _Method, parse: Callable[[bytes], Any]) -> _Method:
    async def bounded(message: bytes, context: grpc.aio.ServicerContext) -> Any:
        try:
            return await method(_parsed(message, parse), context)
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            shown = presentable(error)
            await context.abort(status_code(shown), str(shown))

    return bounded


def _parsed(message: bytes, parse: Callable[[bytes], Any]) -> Any:
    try:
        return parse(message)
    except DecodeError:
        raise InvalidInput(
            "the message is not one of this method", "make it with proto/calyx/v1/inference.proto"
        ) from None
