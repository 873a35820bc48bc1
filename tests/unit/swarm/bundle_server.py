"""A handler's streams for steps of many sessions behind real sockets, against a pool that notes what it was asked."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from hivemind.p2p.p2p_daemon_bindings.datastructures import StreamInfo

from services.swarm.client.lanes import Lane
from services.swarm.serving.batching_pool import Bundle
from services.swarm.serving.bundled import BundledSteps
from services.swarm.serving.open_sessions import OPEN, OpenSession
from services.swarm.serving.passing_on import PassingOn

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


class Network:
    """The way to one of a handler's streams.

    Attributes:
        connected: how many streams have been opened.
        lost: whether the server is not connected any more.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connected = 0
        self.lost = False

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self.connected += 1
        return await asyncio.open_unix_connection(self.path)

    async def check(self) -> None:
        if self.lost:
            raise ConnectionError("lost")


class BundleServer(Network):
    """A handler's streams behind sockets, and what a client knows of the network to it."""

    def __init__(self, folder: Path, name: str = "server") -> None:
        super().__init__(folder / name)
        self.for_servers = Network(folder / f"{name}-passed-on")
        self.neighbours: dict[str, Network] = {}
        """By what clients call them."""
        self.passing_on = PassingOn(lambda onward: self.neighbours[onward.peer])
        self.pool = FakePool()
        backend: Any = SimpleNamespace(
            inference_pool=self.pool,
            dtype=torch.float32,
            block=SimpleNamespace(config=SimpleNamespace(hidden_size=WIDTH)),
        )
        self.steps = BundledSteps(dict.fromkeys(("x.0", "x.1", "x.2"), backend), self.passing_on)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        serving = {self.path: self.steps.serve, self.for_servers.path: self.steps.serve_passed_on}
        async with AsyncExitStack() as stack:
            for path, serve in serving.items():
                listener = await asyncio.start_unix_server(partial(serve, cast("StreamInfo", None)), path)
                await stack.enter_async_context(listener)
            yield
            self.passing_on.close()

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
