"""Several answers to one request, generated at the same time and read as one stream."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from services.endpoint.conversation import Conversation, Request
from services.endpoint.engine import Model
from services.endpoint.generation import Chunk
from services.endpoint.scheduler import Scheduler


async def run_choices(
    scheduler: Scheduler, model: Model, requests: Sequence[Request]
) -> AsyncGenerator[tuple[int, Chunk]]:
    """Yield pieces of answers, each with the index of its request.

    Each answer is a conversation of its own. None keeps its place while the caller reads another one's pieces, or
    reads none at all, so that they get through however few places there are. The first error ends all of them.

    Raises:
        Exception: as ``Scheduler.require_places`` and ``Scheduler.run``.
    """
    scheduler.require_places(len(requests))
    pieces: asyncio.Queue[tuple[int, Chunk | Exception]] = asyncio.Queue()

    async def run(index: int, request: Request) -> None:
        conversation = Conversation(model)
        try:
            async with aclosing(scheduler.run(conversation, request)) as chunks:
                async for chunk in chunks:
                    pieces.put_nowait((index, chunk))
        except Exception as error:
            pieces.put_nowait((index, error))
        finally:
            scheduler.end(conversation)

    tasks = [asyncio.create_task(run(index, request)) for index, request in enumerate(requests)]
    try:
        unfinished = len(tasks)
        while unfinished:
            index, piece = await pieces.get()
            if isinstance(piece, Exception):
                raise piece
            unfinished -= piece.finish is not None
            yield index, piece
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
