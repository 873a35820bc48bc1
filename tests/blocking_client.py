"""A client of the swarm for tests that do one thing after the other, from a thread without an event loop."""

import asyncio
from collections.abc import Sequence

import torch

from services.swarm.client.session import AsyncSession
from services.swarm.model import SwarmModel


class BlockingSession:
    """An asynchronous session whose calls wait."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    @property
    def position(self) -> int:
        return self._session.position

    def step(self, token_ids: Sequence[int]) -> torch.Tensor:
        """Send tokens and return the logits [vocabulary] after the last one."""

        async def run() -> torch.Tensor:
            return await self._session.logits(token_ids)

        return asyncio.run(run())

    def close(self) -> None:
        async def run() -> None:
            await self._session.close()

        asyncio.run(run())


class BlockingClient:
    """A model in the swarm with blocking sessions."""

    def __init__(self, model: SwarmModel) -> None:
        self.model = model
        self.max_length = model.max_length

    def missing_blocks(self) -> list[int]:
        return self.model.missing_blocks()

    def open_session(self, max_length: int) -> BlockingSession:
        return BlockingSession(self.model.open_session(max_length))
