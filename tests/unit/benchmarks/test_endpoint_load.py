"""How many streams at once are counted, against an endpoint that has two places."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import ServerConnection, serve

from scripts.benchmarks.endpoint import at_once, first_token, session
from services.common.errors import Unavailable

PLACES = 2


@asynccontextmanager
async def endpoint() -> AsyncIterator[str]:
    """An endpoint that writes three tokens, and refuses who comes while all places are taken."""
    taken = 0

    async def talk(connection: ServerConnection) -> None:
        nonlocal taken
        async for message in connection:
            if json.loads(message)["type"] == "open_inference_session":
                await connection.send('{"ok": true}')
            elif taken == PLACES:
                await connection.send('{"ok": false, "error": "all places are taken"}')
            else:
                taken += 1
                for stop in ("false", "false", "true"):
                    await connection.send(f'{{"ok": true, "outputs": "a", "stop": {stop}}}')

    async with serve(talk, "127.0.0.1", 0) as server:
        host, port = next(iter(server.sockets)).getsockname()
        yield f"ws://{host}:{port}"


async def test_who_is_refused_counts_as_an_error_and_nobody_else() -> None:
    async with endpoint() as url:

        async def one() -> float:
            async with session(url, "a/model") as connection:
                return await first_token(connection)

        became = await asyncio.wait_for(at_once(5, one), 30)

    assert sum(isinstance(some, float) for some in became) == PLACES
    assert {str(some) for some in became if not isinstance(some, float)} == {
        "measuring the endpoint: all places are taken"
    }


async def test_an_endpoint_that_refuses_a_session_ends_the_measurement() -> None:
    async def refuse(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.send('{"ok": false, "error": "no such model"}')

    async with serve(refuse, "127.0.0.1", 0) as server:
        host, port = next(iter(server.sockets)).getsockname()
        with pytest.raises(Unavailable, match="no such model"):
            async with session(f"ws://{host}:{port}", "a/model"):
                pass
