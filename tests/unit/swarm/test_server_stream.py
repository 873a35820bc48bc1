"""How a session finds its server's handler and which way its steps go, with a daemon of libp2p that is none."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
import torch
from hivemind.p2p import P2P, PeerID
from hivemind.p2p.p2p_daemon_bindings.utils import ControlFailure
from hivemind.proto import runtime_pb2
from petals.data_structures import RemoteSpanInfo, ServerInfo, ServerState

from services.swarm.client import stream
from services.swarm.client.capabilities import Capabilities, ServerTerms
from services.swarm.client.lanes import Lanes
from services.swarm.client.stream import ServerStream

PEER = PeerID(bytes(32))
HIDDEN = torch.ones(1, 3, 8)


class FakeDaemon:
    """The way to a server whose only handler has this name."""

    def __init__(self, handler: str) -> None:
        self.handler = handler
        self.called: list[str] = []
        self.alone = 0
        """How many steps it had by the session's own stream."""

    async def iterate_protobuf_handler(
        self, _: PeerID, name: str, requests: AsyncIterator[Any], __: object
    ) -> AsyncIterator[Any]:
        self.called.append(name)
        if name != f"{self.handler}.rpc_inference":
            raise ControlFailure("Connect failed. msg=protocols not supported")
        return self._answers(requests)

    async def _answers(self, requests: AsyncIterator[Any]) -> AsyncIterator[runtime_pb2.ExpertResponse]:
        async for request in requests:
            self.alone += 1
            yield runtime_pb2.ExpertResponse(tensors=[request.tensors[0]])


class FakeCapabilities(Capabilities):
    """What a server said when it was asked first, then what it says now."""

    def __init__(self, *handlers: str) -> None:
        self._handlers = list(handlers)

    async def of(self, _: PeerID, __: str) -> ServerTerms:
        return ServerTerms(runtime_pb2.CompressionType.NONE, goes_back=True, sessions_at=self._handlers[0])

    def forget(self, _: PeerID) -> None:
        del self._handlers[0]


class FakeLanes(Lanes):
    """A way for steps of many sessions, on which they come back as they went."""

    def __init__(self) -> None:
        self.together = 0

    def to(self, _: PeerID, __: str, ___: str) -> Any:
        return self

    async def step(self, _: str, __: int, hidden: torch.Tensor) -> torch.Tensor:
        self.together += 1
        return hidden


def stream_to(daemon: FakeDaemon, capabilities: Capabilities, lanes: Lanes) -> ServerStream:
    span = RemoteSpanInfo(PEER, 0, 2, ServerInfo(ServerState.ONLINE, 1.0))
    return ServerStream(
        cast("P2P", daemon),
        span,
        ["m.0", "m.1"],
        capabilities,
        lanes,
        {},
        connect_timeout=5.0,
        answer_timeout=5.0,
    )


def step(daemon: FakeDaemon, capabilities: Capabilities) -> torch.Tensor:
    session = stream_to(daemon, capabilities, FakeLanes())
    return asyncio.run(session.exchange(HIDDEN, "step", [], pushed=False))


def test_a_server_that_was_started_again_is_asked_for_its_new_handlers() -> None:
    daemon = FakeDaemon("new")

    assert step(daemon, FakeCapabilities("old", "new")).equal(HIDDEN)

    assert daemon.called == ["old.rpc_inference", "new.rpc_inference"]


def test_a_server_without_the_handler_that_it_names_is_asked_twice_at_most() -> None:
    daemon = FakeDaemon("another")

    with pytest.raises(ControlFailure, match="not supported"):
        step(daemon, FakeCapabilities("old", "new"))

    assert len(daemon.called) == 2


async def three_steps() -> tuple[int, int]:
    """Return how many of a prompt and two steps went alone, and how many together with other sessions'."""
    daemon, lanes = FakeDaemon("one"), FakeLanes()
    session = stream_to(daemon, FakeCapabilities("one"), lanes)
    for tokens in (3, 1, 1):
        await session.exchange(HIDDEN[:, :tokens], "step", [], pushed=False)
    return daemon.alone, lanes.together


async def test_steps_go_together() -> None:
    assert await three_steps() == (1, 2)


async def test_now_and_then_a_step_goes_alone_so_that_the_server_does_not_forget_the_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream, "_BUNDLED_SECONDS", 0.0)

    assert await three_steps() == (3, 0)
