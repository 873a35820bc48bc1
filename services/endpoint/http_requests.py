"""What every protocol over HTTP does with a request: notice when the client goes away."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive

Result = TypeVar("Result")


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
