"""What the endpoint bears: sessions that only wait, streams that all come at once."""

import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from websockets.asyncio.client import ClientConnection, connect

from scripts.benchmarks.container_stats import usage
from scripts.benchmarks.figures import Figure
from scripts.benchmarks.machine import docker
from services.common.errors import Unavailable
from services.common.settings import SwarmSettings

IDLE_SESSIONS = 200
STREAMS = 16
CROWD = 64
_MAX_LENGTH = 32
_ROUNDS = 5
_PROMPT = "Once upon a time, in a small village by the sea,"


def measure(root: Path, project: str) -> list[Figure]:
    """Ask the endpoint of a stack that runs; ``root`` does not matter.

    Raises:
        Unavailable: no stack of ``project`` answers.
    """
    where = docker("port", f"{project}-vpn-1", "8000/tcp").strip()
    model = SwarmSettings.load().model
    try:
        return asyncio.run(_measure(f"ws://{where}/api/v2/generate", model, f"{project}-endpoint-1"))
    except OSError as error:
        raise Unavailable(
            f"measuring the endpoint: {error}", "start the stack: ./scripts/calyx up"
        ) from error


async def _measure(url: str, model: str, container: str) -> list[Figure]:
    async def one() -> float:
        async with session(url, model) as connection:
            return await first_token(connection)

    await one()  # the first answer after a start pays for connections to servers
    before = usage(container).memory
    async with AsyncExitStack() as stack:
        for _ in range(IDLE_SESSIONS):
            await stack.enter_async_context(session(url, model))
        idle = usage(container).memory - before
    alone = statistics.median([await one() for _ in range(_ROUNDS)])
    together = statistics.median(
        [some for _ in range(_ROUNDS) for some in await at_once(STREAMS, one) if isinstance(some, float)]
    )
    crowd = await at_once(CROWD, one)
    return [
        Figure(f"{IDLE_SESSIONS} idle sessions", idle / 1e6, "MB", 50),
        Figure("first token of one stream", 1000 * alone, "ms"),
        Figure(f"first token at {STREAMS} streams to that of one", together / alone, "times", 3),
        Figure(
            f"errors at {CROWD} streams at once", sum(not isinstance(some, float) for some in crowd), "", 0
        ),
    ]


async def at_once(count: int, one: Callable[[], Awaitable[float]]) -> list[float | BaseException]:
    """Return what each of so many became that began together: seconds, or an error."""
    return await asyncio.gather(*(one() for _ in range(count)), return_exceptions=True)


async def first_token(connection: ClientConnection) -> float:
    """Let a session write, and return the seconds until its first token; reads the rest, too.

    Raises:
        Unavailable: the endpoint refuses, or the answer breaks off.
    """
    begin = time.perf_counter()
    # A stop sequence makes the endpoint stream, here until the session is full
    asked = {"type": "generate", "inputs": _PROMPT, "max_new_tokens": 1, "stop_sequence": "never said"}
    await connection.send(json.dumps(asked))
    answer = await _receive(connection)
    seconds = time.perf_counter() - begin
    while not answer["stop"]:
        answer = await _receive(connection)
    return seconds


@asynccontextmanager
async def session(url: str, model: str) -> AsyncIterator[ClientConnection]:
    """Open a session of few tokens, on a connection of its own.

    Raises:
        Unavailable: the endpoint refuses.
    """
    async with connect(url) as connection:
        opening = {"type": "open_inference_session", "model": model, "max_length": _MAX_LENGTH}
        await connection.send(json.dumps(opening))
        await _receive(connection)
        yield connection


async def _receive(connection: ClientConnection) -> dict[str, object]:
    answer: dict[str, object] = json.loads(await connection.recv())
    if not answer["ok"]:
        raise Unavailable(f"measuring the endpoint: {answer['error']}")
    return answer
