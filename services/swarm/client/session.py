"""One text in the making, for callers on any event loop."""

import asyncio
from collections.abc import Sequence
from typing import Any

import torch

from services.common.errors import InvalidInput, Unavailable
from services.swarm.client.batches import Batches
from services.swarm.client.chain import MESSAGE_TOKENS, Chain
from services.swarm.client.crossing import in_swarm
from services.swarm.client.ends import Chooser, ToEmbed, ToRead
from services.swarm.client.routes import AnsweringServer, MissingBlocks


class AsyncSession:
    """The servers' caches for one text. One call at a time; no threads, nothing that waits when it is collected.

    Args:
        name: the model's, for messages.
        chain: the way through its blocks.
        embedding: batches of embeddings.
        reading: batches of norm, head and choice.
        max_length: the most tokens that it may hold.
    """

    def __init__(
        self,
        name: str,
        chain: Chain,
        embedding: Batches[ToEmbed, torch.Tensor],
        reading: Batches[ToRead, Any],
        max_length: int,
    ) -> None:
        self._name, self._chain, self._max_length = name, chain, max_length
        self._embedding, self._reading = embedding, reading
        self._step: asyncio.Task[Any] | None = None
        self._closed = False

    @property
    def position(self) -> int:
        """How many tokens the servers hold."""
        return self._chain.position

    @property
    def servers(self) -> list[AnsweringServer]:
        """The servers that answer now, in the order of their blocks; there are none before the first step."""
        return [AnsweringServer.of(span) for span in self._chain.spans]

    async def logits(self, token_ids: Sequence[int]) -> torch.Tensor:
        """Send these tokens and return float32 logits [vocabulary] after the last one.

        Raises:
            InvalidInput: the session would hold more tokens than it was opened for, or none are given.
            Unavailable: blocks have no server, or none answered in time; the session is where it was, or some
                512 tokens further in a long text.
        """
        logits: torch.Tensor = await in_swarm(self._run(tuple(token_ids), None))
        return logits

    async def next_tokens(
        self, token_ids: Sequence[int], chooser: Chooser, guesses: Sequence[int] = ()
    ) -> list[int]:
        """Send these tokens and return those that ``chooser`` chooses to follow, of which there is one at least.

        Guesses of what will follow go with them, where all servers know how to forget those that are wrong; for each
        that is right, one more token follows of the same pass through the swarm. Afterwards the servers hold all but
        the last one of the returned tokens.

        Raises:
            Exception: as ``logits``, and what the choice fails on.
        """
        tokens: list[int] = await in_swarm(self._run(tuple(token_ids), chooser, tuple(guesses)))
        return tokens

    async def go_back(self, position: int) -> None:
        """Forget the tokens after the first ``position``, between two steps.

        Raises:
            InvalidInput: the session has not come so far.
        """
        await in_swarm(self._go_back(position))

    async def close(self) -> None:
        """Break off the step that runs, and free the servers' caches; safe to call again, and when they are gone."""
        await in_swarm(self._close())

    async def _run(
        self, token_ids: tuple[int, ...], chooser: Chooser | None, guesses: tuple[int, ...] = ()
    ) -> Any:
        if len(token_ids) + len(guesses) > MESSAGE_TOKENS or not self._chain.goes_back:
            guesses = ()
        token_ids += guesses
        self._check(token_ids)
        self._step = asyncio.current_task()
        for start in range(0, len(token_ids), MESSAGE_TOKENS):
            part = token_ids[start : start + MESSAGE_TOKENS]
            hidden = await self._embedding.submit(ToEmbed(part, self.position))
            hidden = await self._through_blocks(hidden)
        answer = await self._reading.submit(ToRead(hidden[0, -1 - len(guesses) :], chooser, guesses))
        if guesses and (wrong := 1 + len(guesses) - len(answer)):
            self._chain.go_back(self.position - wrong)
        return answer

    async def _go_back(self, position: int) -> None:
        if not 0 <= position <= self.position:
            raise InvalidInput(
                f"a session of {self.position} tokens cannot go back to {position}", "go back to less"
            )
        self._chain.go_back(position)

    def _check(self, token_ids: tuple[int, ...]) -> None:
        if self._closed:
            raise InvalidInput("the session is closed", "open another one")
        if not token_ids:
            raise InvalidInput("a step needs at least one token")
        if self.position + len(token_ids) > self._max_length:
            raise InvalidInput(
                f"{self.position} + {len(token_ids)} tokens are more than the session's {self._max_length}",
                "open the session with a larger max_length, or send less",
            )

    async def _through_blocks(self, hidden: torch.Tensor) -> torch.Tensor:
        try:
            with self._reading.expecting():
                return await self._chain.step(hidden)
        except MissingBlocks as error:
            raise Unavailable(
                f"model {self._name}: {error}",
                "wait for servers to join, or share a machine that serves them",
            ) from error
        except Exception as error:  # what a peer's failure surfaces as depends on where it died
            raise Unavailable(
                f"model {self._name}: the swarm did not answer: {error!r}", "try again"
            ) from error

    async def _close(self) -> None:
        self._closed = True
        if self._step is not None and not self._step.done():
            self._step.cancel()
            await asyncio.wait({self._step})
        await self._chain.close()
