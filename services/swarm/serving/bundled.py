"""Takes steps of many sessions in one message and answers them in one, as ``services.swarm.bundles`` says.

Each handler's process has a stream of its own for this, for it knows only the sessions that were opened at it.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from hivemind.p2p.p2p_daemon_bindings.datastructures import StreamInfo

from services.swarm.bundles import Part, pack, read
from services.swarm.serving.backend import BlockBackend
from services.swarm.serving.batching_pool import BatchingPool, Bundle
from services.swarm.serving.open_sessions import OPEN, OpenSession
from services.swarm.serving.passing_on import PassingOn

logger = logging.getLogger(__name__)

_PRIORITY = 1.0
"""What Petals gives to all inference."""

_Answering = Callable[[Sequence[Part], torch.Tensor, asyncio.StreamWriter], Coroutine[Any, Any, None]]


class BundledSteps:
    """The streams of one handler.

    Args:
        backends: the span's blocks by their keys in the DHT.
        passing_on: the ways to other servers' handlers.
    """

    def __init__(self, backends: Mapping[str, BlockBackend], passing_on: PassingOn) -> None:
        self._backends, self._passing_on = backends, passing_on

    @staticmethod
    def are_taken_by(backends: Mapping[str, BlockBackend]) -> bool:
        """Tell whether these blocks run steps of many sessions at once."""
        return all(isinstance(backend.inference_pool, BatchingPool) for backend in backends.values())

    async def serve(self, _: StreamInfo, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer a client's messages until it ends the stream, or sends what nobody can read."""
        await self._serve(reader, writer, self._answer)

    async def serve_passed_on(
        self, _: StreamInfo, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Take steps from another server, and answer them to the clients whose sessions they belong to."""
        await self._serve(reader, writer, self._answer_clients)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: _Answering
    ) -> None:
        answering: set[asyncio.Task[None]] = set()
        try:
            while True:
                task = asyncio.create_task(answer(*await read(reader), writer))
                answering.add(task)
                task.add_done_callback(answering.discard)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except ValueError as error:
            logger.warning("a peer's stream is closed: %s", error)
        finally:
            for task in answering:
                task.cancel()
            writer.close()

    async def _answer(
        self, parts: Sequence[Part], hidden: torch.Tensor, writer: asyncio.StreamWriter
    ) -> None:
        for part in parts:
            if session := OPEN.get(part.session):
                session.client = writer
        answers, outputs = self._passing_on.pass_on(*await self._run(parts, hidden), writer)
        if answers:
            writer.write(pack(answers, outputs))
            await writer.drain()

    async def _answer_clients(
        self, parts: Sequence[Part], hidden: torch.Tensor, server: asyncio.StreamWriter
    ) -> None:
        together: dict[tuple[asyncio.StreamWriter, object], list[Part]] = defaultdict(list)
        refused = []
        for part in parts:
            session = OPEN.get(part.session)
            if session is None or session.client is None or session.client.is_closing():
                refused.append(replace(part, tokens=0, problem="its client cannot be answered from here"))
            else:
                together[session.client, session.kind].append(part)
        if refused:
            server.write(pack(refused, hidden[:0]))
        answering = (
            self._answer_client(theirs, _tokens_of(theirs, parts, hidden), client)
            for (client, _), theirs in together.items()
        )
        await asyncio.gather(*answering)

    async def _answer_client(
        self, parts: Sequence[Part], passed_on: torch.Tensor, client: asyncio.StreamWriter
    ) -> None:
        answers, outputs = await self._run(parts, passed_on)
        client.write(pack(answers, outputs))
        await client.drain()

    async def _run(self, parts: Sequence[Part], hidden: torch.Tensor) -> tuple[list[Part], torch.Tensor]:
        """Return the parts as they are answered, and the outputs of those that have no problem."""
        answers: list[Part] = []
        taken: list[tuple[Part, OpenSession]] = []
        for part in parts:
            session = OPEN.get(part.session)
            first = taken[0][1] if taken else session
            if session is None or first is None:
                answers.append(replace(part, tokens=0, problem="there is no such session"))
            elif problem := self._problem(part, hidden, session, first):
                answers.append(replace(part, tokens=0, problem=problem))
            else:
                session.busy = True
                taken.append((part, session))
        if not taken:
            return answers, hidden[:0]
        try:
            outputs, problems = await self._submit(
                taken, _tokens_of([part for part, _ in taken], parts, hidden)
            )
        except Exception as error:
            outputs, problems = hidden[:0], [repr(error)] * len(taken)
        finally:
            for _, session in taken:
                session.busy = False
        for (part, session), problem in zip(taken, problems, strict=True):
            if problem is None:
                session.position = part.position + part.tokens
                answers.append(part)
            else:
                answers.append(replace(part, tokens=0, problem=problem))
        return answers, outputs

    def _problem(
        self, part: Part, hidden: torch.Tensor, session: OpenSession, first: OpenSession
    ) -> str | None:
        width = self._backends[session.blocks[0]].block.config.hidden_size
        if hidden.shape[1] != width:
            return f"hidden states are {hidden.shape[1]} wide, not {width}"
        if session.kind != first.kind:
            return "steps through other blocks, or with another adapter, are sent in another message"
        return session.problem_with(part.position, part.tokens)

    async def _submit(
        self, taken: Sequence[tuple[Part, OpenSession]], hidden: torch.Tensor
    ) -> tuple[torch.Tensor, list[str | None]]:
        _, session = taken[0]
        backend = self._backends[session.blocks[0]]
        outputs, problems = await backend.inference_pool.submit_task(
            hidden[None].to(backend.dtype),
            Bundle(
                session.blocks,
                session.adapter,
                tuple((session.handle, part.position, part.tokens) for part, session in taken),
            ),
            priority=_PRIORITY,
        )
        return outputs[0], list(problems)


def _tokens_of(some: Sequence[Part], parts: Sequence[Part], hidden: torch.Tensor) -> torch.Tensor:
    """Return the tokens of some of a message's parts, which are in the same order."""
    if len(some) == len(parts):
        return hidden
    chosen = set(map(id, some))
    split = zip(parts, hidden.split([part.tokens for part in parts]), strict=True)
    return torch.cat([own for part, own in split if id(part) in chosen])
