"""Turns calls that wait at the same time into one: whoever comes while the thread computes is in the next batch."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Generic, TypeVar

Request = TypeVar("Request")
Result = TypeVar("Result")


_QUIET_SECONDS = 0.002
"""So long nobody must have come before a batch begins while others are on their way."""
_LONGEST_SECONDS = 0.02
"""Nor does it wait longer than this, though more and more come."""


class Batches(Generic[Request, Result]):
    """Computes many requests in one call. Belongs to one event loop.

    Args:
        compute: answers requests, in their order; an exception among the answers is that request's alone.
        thread: where it runs.
    """

    def __init__(
        self, compute: Callable[[Sequence[Request]], Sequence[Result | Exception]], thread: Executor
    ) -> None:
        self._compute = compute
        self._thread = thread
        self._waiting: list[tuple[Request, asyncio.Future[Result]]] = []
        self._running: asyncio.Task[None] | None = None
        self._coming = 0

    @contextmanager
    def expecting(self) -> Iterator[None]:
        """Say that a request is on its way as long as the context lasts.

        Answers of one server follow each other closely, and a batch of one takes nearly as long as one of all.
        """
        self._coming += 1
        try:
            yield
        finally:
            self._coming -= 1

    async def submit(self, request: Request) -> Result:
        """Return the answer to one request; when the caller is cancelled before its batch, it is left out.

        Raises:
            Exception: what the computation raised, or answered for this request.
        """
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, answer))
        if self._running is None:
            self._running = asyncio.get_running_loop().create_task(self._run())
        return await answer

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._gather()
                await self._run_one()
        finally:
            self._running = None

    async def _gather(self) -> None:
        await asyncio.sleep(0)  # whoever is ready in this turn of the loop comes along
        clock = asyncio.get_running_loop().time
        until = clock() + _LONGEST_SECONDS
        there = 0
        while self._coming and there < len(self._waiting) and clock() < until:
            there = len(self._waiting)
            await asyncio.sleep(_QUIET_SECONDS)

    async def _run_one(self) -> None:
        batch = [(request, answer) for request, answer in self._waiting if not answer.done()]
        self._waiting = []
        if not batch:
            return
        requests = [request for request, _ in batch]
        results: Sequence[Result | Exception]
        try:
            results = await asyncio.get_running_loop().run_in_executor(self._thread, self._compute, requests)
        except Exception as error:
            results = [error] * len(batch)
        for (_, answer), result in zip(batch, results, strict=True):
            if answer.done():
                continue
            if isinstance(result, Exception):
                answer.set_exception(result)
            else:
                answer.set_result(result)
