"""Where callers are admitted over gRPC, and where errors become status codes; nothing else here does either."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from services.common.errors import CalyxError, InvalidInput, Refused, Unavailable
from services.endpoint.access.admission import Access
from services.endpoint.errors import OutOfTime, Unauthorized, UnknownModel, presentable
from services.endpoint.places import CALLER

_CODES: tuple[tuple[type[CalyxError], grpc.StatusCode], ...] = (
    (UnknownModel, grpc.StatusCode.NOT_FOUND),
    (Unauthorized, grpc.StatusCode.UNAUTHENTICATED),
    (InvalidInput, grpc.StatusCode.INVALID_ARGUMENT),
    (Refused, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (OutOfTime, grpc.StatusCode.DEADLINE_EXCEEDED),
    (Unavailable, grpc.StatusCode.UNAVAILABLE),
)

_PUBLIC = "/grpc.health."

_Method = Callable[[Any, grpc.aio.ServicerContext], Awaitable[Any]]


def status_code(error: CalyxError) -> grpc.StatusCode:
    """Return the status of an error; only what is broken on our side is INTERNAL."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), grpc.StatusCode.INTERNAL)


class Boundary(grpc.aio.ServerInterceptor):
    """Stands around every method that takes one message; the message is parsed inside it, too.

    Args:
        access: knows who may call; whether the endpoint works is told to everybody.
    """

    def __init__(self, access: Access) -> None:
        self._access = access

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], details: grpc.HandlerCallDetails
    ) -> Any:
        """Return the method's handler with the boundary around what it does."""
        handler = await continuation(details)
        if handler is None or handler.request_streaming:
            return handler
        kind = "unary_stream" if handler.response_streaming else "unary_unary"
        access = None if details.method.startswith(_PUBLIC) else self._access
        method = _bounded(getattr(handler, kind), handler.request_deserializer, access)
        return handler._replace(request_deserializer=None, **{kind: method})


def _bounded(method: _Method, parse: Callable[[bytes], Any], access: Access | None) -> _Method:
    async def bounded(message: bytes, context: grpc.aio.ServicerContext) -> Any:
        try:
            with _admitted(context, access):
                return await method(_parsed(message, parse), context)
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            shown = presentable(error)
            await context.abort(status_code(shown), str(shown))

    return bounded


@contextmanager
def _admitted(context: grpc.aio.ServicerContext, access: Access | None) -> Iterator[None]:
    if access is None:
        yield
        return
    metadata = context.invocation_metadata() or ()
    found = next((value for name, value in metadata if name == "authorization"), None)
    with access.admit(found if isinstance(found, str) else None) as ticket:
        ticket.spend()
        # An address looks like ipv4:127.0.0.1:50000
        CALLER.set(ticket.owner or context.peer().partition(":")[2].rpartition(":")[0])
        yield


def _parsed(message: bytes, parse: Callable[[bytes], Any]) -> Any:
    try:
        return parse(message)
    except DecodeError:
        raise InvalidInput(
            "the message is not one of this method", "make it with proto/calyx/v1/inference.proto"
        ) from None
