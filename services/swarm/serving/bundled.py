"""Takes steps of many sessions in one message and answers them in one, as ``services.swarm.bundles`` says.

Each handler's process has a stream of its own for this, for it knows only the sessions that were opened at it.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from hivemind.p2p.p2p_daemon_bindings.datastructures import StreamInfo

from services.swarm.bundles import Part, pack, read
from services.swarm.serving.backend import BlockBackend
from services.swarm.serving.batching_pool import BatchingPool, Bundle
from services.swarm.serving.open_sessions import OPEN, OpenSession

logger = logging.getLogger(__name__)

_PRIORITY = 1.0
"""What Petals gives to all inference."""


class BundledSteps:
    """The stream of one handler.

    Args:
        backends: the span's blocks by their keys in the DHT.
    """

    def __init__(self, backends: Mapping[str, BlockBackend]) -> None:
        self._backends = backends

    @staticmethod
    def are_taken_by(backends: Mapping[str, BlockBackend]) -> bool:
        """Tell whether these blocks run steps of many sessions at once."""
        return all(isinstance(backend.inference_pool, BatchingPool) for backend in backends.values())

    async def serve(self, _: StreamInfo, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer a client's messages until it ends the stream, or sends what nobody can read."""
        answering: set[asyncio.Task[None]] = set()
        try:
            while True:
                task = asyncio.create_task(self._answer(*await read(reader), writer))
                answering.add(task)
                task.add_done_callback(answering.discard)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except ValueError as error:
            logger.warning("a client's stream is closed: %s", error)
        finally:
            for task in answering:
                task.cancel()
            writer.close()

    async def _answer(
        self, parts: Sequence[Part], hidden: torch.Tensor, writer: asyncio.StreamWriter
    ) -> None:
        message = pack(*await self._run(parts, hidden))
        writer.write(message)
        await writer.drain()

    async def _run(self, parts: Sequence[Part], hidden: torch.Tensor) -> tuple[list[Part], torch.Tensor]:
        """Return the parts as they are answered, and the outputs of those that have no problem."""
        answers: list[Part] = []
        taken: list[tuple[Part, OpenSession, torch.Tensor]] = []
        for part, own in zip(parts, hidden.split([part.tokens for part in parts]), strict=True):
            session = OPEN.get(part.session)
            first = taken[0][1] if taken else session
            if session is None or first is None:
                answers.append(replace(part, tokens=0, problem="there is no such session"))
            elif problem := self._problem(part, own, session, first):
                answers.append(replace(part, tokens=0, problem=problem))
            else:
                session.busy = True
                taken.append((part, session, own))
        if not taken:
            return answers, hidden[:0]
        try:
            outputs, problems = await self._submit(taken)
        except Exception as error:
            outputs, problems = hidden[:0], [repr(error)] * len(taken)
        finally:
            for _, session, _ in taken:
                session.busy = False
        for (part, session, _), problem in zip(taken, problems, strict=True):
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
        self, taken: Sequence[tuple[Part, OpenSession, torch.Tensor]]
    ) -> tuple[torch.Tensor, list[str | None]]:
        _, session, _ = taken[0]
        backend = self._backends[session.blocks[0]]
        outputs, problems = await backend.inference_pool.submit_task(
            torch.cat([hidden for _, _, hidden in taken])[None].to(backend.dtype),
            Bundle(
                session.blocks,
                session.adapter,
                tuple((session.handle, part.position, part.tokens) for part, session, _ in taken),
            ),
            priority=_PRIORITY,
        )
        return outputs[0], list(problems)
