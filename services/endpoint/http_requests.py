"""What every protocol over HTTP does with a request: read a bounded body, and notice when the client goes away."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from services.common.errors import CalyxError, Refused, Unavailable
from services.endpoint.errors import TooLarge

_RETRY_AFTER_SECONDS = "5"

Result = TypeVar("Result")


async def read_body(request: Request, limit: int) -> bytes:
    """Return the body, of which no more than ``limit`` bytes are ever held.

    Raises:
        TooLarge: it has more.
        ClientDisconnect: the client went away before it had sent all.
    """
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


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, Result]) -> Result:
    """Await the work; when the client disconnects meanwhile, cancel it and wait for its end.

    To be called after the body was read.

    Raises:
        ClientDisconnect: the client went away.
        Exception: what the work raises.
    """
    working = asyncio.create_task(work)
    # The body was read, so the only message left is that of the disconnection.
    gone = asyncio.ensure_future(receive())
    try:
        await asyncio.wait([working, gone], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        gone.cancel()
        await asyncio.wait([working, gone])


def retry_after(error: CalyxError) -> dict[str, str]:
    """Return the header that tells when an error may be over, if it may."""
    return {"retry-after": _RETRY_AFTER_SECONDS} if isinstance(error, (Unavailable, Refused)) else {}
