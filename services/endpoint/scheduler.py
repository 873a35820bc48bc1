"""Who generates when: a bounded number at once, a bounded queue behind them, a time limit for each."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any

from services.common.errors import InvalidInput, Refused, Unavailable
from services.endpoint.conversation import Conversation, Plan, Request
from services.endpoint.errors import OutOfTime, presentable
from services.endpoint.generation import Chunk, Generation
from services.endpoint.observing import NobodyWatches, Observer, Watch
from services.endpoint.places import Places

logger = logging.getLogger(__name__)

_GRACE_SECONDS = 3


class Scheduler:
    """Runs answers.

    Args:
        max_running: how many answers are generated at once.
        max_waiting: how many more may wait for one of those to end.
        time_limit: the most seconds an answer may take, from its request on.
        speculative_tokens: the most tokens that are guessed ahead in one pass through the swarm.
        observer: is told how answers go.
    """

    def __init__(
        self,
        max_running: int,
        max_waiting: int,
        time_limit: float,
        speculative_tokens: int = 0,
        observer: Observer | None = None,
    ) -> None:
        self._observer = observer or NobodyWatches()
        self._speculative_tokens = speculative_tokens
        self._time_limit = time_limit
        self._places, self._most = Places(max_running, max_waiting), max_running + max_waiting
        self._running: dict[asyncio.Task[None], Conversation] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._open: set[Conversation] = set()

    @property
    def has_place(self) -> bool:
        """Whether a request would start at once."""
        return self._places.free > 0

    @property
    def waiting(self) -> int:
        """How many requests wait for a place."""
        return self._places.waiting

    @property
    def running(self) -> int:
        """How many answers are generated."""
        return len(self._running)

    @property
    def open_sessions(self) -> int:
        """How many conversations may hold a cache on servers of the swarm."""
        return len(self._open)

    def require_places(self, count: int) -> None:
        """Check that so many requests of one caller may run or wait now; whether one may is for ``run`` to say.

        Raises:
            InvalidInput: they never may, all at once.
            Refused: too many are waiting already.
        """
        if count > self._most:
            raise InvalidInput(
                f"{count} answers at once are too many for {self._most} places", "ask for fewer"
            )
        free = self._most - len(self._running) - self.waiting
        if count > max(free, 1):
            raise Refused(
                f"{free} of {self._most} places are free, {count} are needed", "try again in a few seconds"
            )

    async def run(self, conversation: Conversation, request: Request) -> AsyncGenerator[Chunk]:
        """Yield the pieces of an answer; the last one has ``finish`` set.

        Close the iterator to stop generating, the step that runs included. A conversation whose answer broke off,
        for whatever reason, is closed and no longer ``usable``.

        Raises:
            InvalidInput: the request does not fit the conversation.
            Refused: too many are waiting already.
            Unavailable: some blocks have no server.
            OutOfTime: the time is up.
        """
        with self._observer.asked(conversation.model.name) as watch:
            async with aclosing(self._run(conversation, request, watch)) as chunks:
                async for chunk in chunks:
                    if chunk.finish is not None:
                        watch.finished(chunk.finish.reason)
                    yield chunk

    async def _run(self, conversation: Conversation, request: Request, watch: Watch) -> AsyncGenerator[Chunk]:
        loop = asyncio.get_running_loop()
        began = loop.time()
        deadline = began + self._time_limit
        try:
            async with asyncio.timeout_at(deadline):
                plan = await asyncio.to_thread(conversation.plan, request)
                await self._places.take()
        except TimeoutError:
            raise self._out_of_time() from None

        watch.started(len(plan.prompt_ids))
        outbox: asyncio.Queue[Chunk | Exception] = asyncio.Queue()
        worker = loop.create_task(self._work(conversation, plan, watch, outbox.put_nowait))
        self._running[worker] = conversation
        # Not when the last piece is read: whoever reads slowly keeps nobody waiting
        worker.add_done_callback(self._leave)
        tokens, finished, outcome = 0, False, "abandoned"
        try:
            while not finished:
                try:
                    async with asyncio.timeout_at(deadline):
                        item = await outbox.get()
                except TimeoutError:
                    outcome = "out of time"
                    raise self._out_of_time() from None
                if isinstance(item, Exception):
                    outcome = type(item).__name__
                    raise item
                tokens += item.tokens
                if item.finish is not None:
                    finished, outcome = True, item.finish.reason
                yield item
        finally:
            if not finished:
                worker.cancel()
                conversation.usable = False
                self._in_background(self._close_after(worker, conversation))
            logger.info(
                "answer ended",
                extra={
                    "model": conversation.model.name,
                    "prompt_tokens": len(plan.prompt_ids),
                    "tokens": tokens,
                    "seconds": round(loop.time() - began, 3),
                    "outcome": outcome,
                },
            )

    async def complete(self, conversation: Conversation, request: Request) -> Chunk:
        """Return an answer as one piece; see ``run`` for the rest."""
        async with aclosing(self.run(conversation, request)) as chunks:
            return await anext(chunks)

    def end(self, conversation: Conversation) -> None:
        """Free what the conversation holds in the swarm, without keeping the caller waiting."""
        if conversation.usable:
            conversation.usable = False
            self._in_background(self._close(conversation))

    async def close(self) -> None:
        """Break off what runs, and free what it holds, for a few seconds at most.

        To be called before the models close, through which servers are told.
        """
        running = dict(self._running)
        for worker, conversation in running.items():
            worker.cancel()
            self._in_background(self._close(conversation))
        if last := [*running, *self._closing]:
            await asyncio.wait(last, timeout=_GRACE_SECONDS)

    def _leave(self, worker: asyncio.Task[None]) -> None:
        del self._running[worker]
        self._places.give_back()

    async def _work(
        self,
        conversation: Conversation,
        plan: Plan,
        watch: Watch,
        publish: Callable[[Chunk | Exception], None],
    ) -> None:
        try:
            generation = Generation(conversation, plan, self._speculative_tokens)
            self._open.add(conversation)
            known = len(conversation.tokens)
            while generation.finish is None:
                await generation.step()
                watch.stepped(len(conversation.tokens) - known)
                known = len(conversation.tokens)
                if generation.ready:
                    publish(generation.take())
        except asyncio.CancelledError:
            # Somebody reads it only when the endpoint has broken the answer off
            publish(Unavailable("the endpoint is stopping", "try again when it is back"))
            raise
        except Exception as error:
            publish(error)

    async def _close_after(self, worker: asyncio.Task[None], conversation: Conversation) -> None:
        await asyncio.wait([worker])
        await self._close(conversation)

    async def _close(self, conversation: Conversation) -> None:
        try:
            await conversation.close()
        except Exception as error:
            presentable(error)
        finally:
            self._open.discard(conversation)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._closing.add(task)  # the loop itself keeps no task alive
        task.add_done_callback(self._closing.discard)

    def _out_of_time(self) -> OutOfTime:
        return OutOfTime(
            f"the answer took longer than {self._time_limit:g} s", "ask for fewer tokens, or try again later"
        )
