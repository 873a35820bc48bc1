"""A handler's stream for steps of many sessions behind a real socket, against a pool that notes what it was asked."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from services.swarm.client.lanes import Lane
from services.swarm.serving.batching_pool import Bundle
from services.swarm.serving.bundled import BundledSteps
from services.swarm.serving.open_sessions import OPEN, OpenSession

WIDTH = 4
BLOCKS = ("x.0", "x.2")


class FakePool:
    """Answers each token with one more, and each session whose handle is in ``broken`` with a problem."""

    def __init__(self) -> None:
        self.asked: list[Bundle] = []
        self.broken: set[int] = set()
        self.gate = asyncio.Event()
        self.gate.set()

    async def submit_task(self, hidden: torch.Tensor, bundle: Bundle, *, priority: float) -> list[Any]:
        self.asked.append(bundle)
        await self.gate.wait()
        parts = hidden.split([tokens for _, _, tokens in bundle.parts], dim=1)
        good = [
            one + 1
            for one, (handle, *_) in zip(parts, bundle.parts, strict=True)
            if handle not in self.broken
        ]
        problems = ["broken" if handle in self.broken else None for handle, *_ in bundle.parts]
        return [torch.cat(good, dim=1) if good else hidden[:, :0], problems]


class BundleServer:
    """A handler's stream behind a socket, and what a client knows of the network to it."""

    def __init__(self, folder: Path) -> None:
        self.pool = FakePool()
        backend: Any = SimpleNamespace(
            inference_pool=self.pool,
            dtype=torch.float32,
            block=SimpleNamespace(config=SimpleNamespace(hidden_size=WIDTH)),
        )
        self.steps = BundledSteps(dict.fromkeys(("x.0", "x.1", "x.2"), backend))
        self.path = folder / "socket"
        self.connected = 0
        self.lost = False

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self.connected += 1
        return await asyncio.open_unix_connection(self.path)

    async def check(self) -> None:
        if self.lost:
            raise ConnectionError("lost")

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self.steps.serve(None, reader, writer)  # type: ignore[arg-type]

        async with await asyncio.start_unix_server(serve, self.path):
            yield

    @asynccontextmanager
    async def lane(self, timeout: float = 5.0) -> AsyncIterator[Lane]:
        async with self.listening():
            lane = Lane(self, timeout)
            yield lane
            lane.close()


def opened(name: str, handle: int, *, position: int = 3, **more: Any) -> OpenSession:
    session = OpenSession(handle, **({"blocks": BLOCKS, "adapter": "", "max_length": 20, "rows": 1} | more))
    session.position = position
    OPEN[name] = session
    return session


def tokens(count: int, value: float = 0.0) -> torch.Tensor:
    return torch.full((count, WIDTH), float(value))
