"""How a session finds its server's handler, with a daemon of libp2p that is none."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
import torch
from hivemind import serialize_torch_tensor
from hivemind.p2p import P2P, PeerID
from hivemind.p2p.p2p_daemon_bindings.utils import ControlFailure
from hivemind.proto import runtime_pb2
from petals.data_structures import RemoteSpanInfo, ServerInfo, ServerState

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

    async def iterate_protobuf_handler(self, _: PeerID, name: str, *__: object) -> AsyncIterator[Any]:
        self.called.append(name)
        if name != f"{self.handler}.rpc_inference":
            raise ControlFailure("Connect failed. msg=protocols not supported")
        return self._answers()

    async def _answers(self) -> AsyncIterator[runtime_pb2.ExpertResponse]:
        yield runtime_pb2.ExpertResponse(tensors=[serialize_torch_tensor(HIDDEN)])


class FakeCapabilities(Capabilities):
    """What a server said when it was asked first, then what it says now."""

    def __init__(self, *handlers: str) -> None:
        self._handlers = list(handlers)

    async def of(self, _: PeerID, __: str) -> ServerTerms:
        return ServerTerms(runtime_pb2.CompressionType.NONE, goes_back=True, sessions_at=self._handlers[0])

    def forget(self, _: PeerID) -> None:
        del self._handlers[0]


def step(daemon: FakeDaemon, capabilities: Capabilities) -> torch.Tensor:
    p2p = cast("P2P", daemon)
    span = RemoteSpanInfo(PEER, 0, 2, ServerInfo(ServerState.ONLINE, 1.0))
    lanes = Lanes(p2p, 5.0, 5.0)
    stream = ServerStream(
        p2p, span, ["m.0", "m.1"], capabilities, lanes, {}, connect_timeout=5.0, answer_timeout=5.0
    )
    return asyncio.run(stream.exchange(HIDDEN, "step", [], pushed=False))


def test_a_server_that_was_started_again_is_asked_for_its_new_handlers() -> None:
    daemon = FakeDaemon("new")

    assert step(daemon, FakeCapabilities("old", "new")).equal(HIDDEN)

    assert daemon.called == ["old.rpc_inference", "new.rpc_inference"]


def test_a_server_without_the_handler_that_it_names_is_asked_twice_at_most() -> None:
    daemon = FakeDaemon("another")

    with pytest.raises(ControlFailure, match="not supported"):
        step(daemon, FakeCapabilities("old", "new"))

    assert len(daemon.called) == 2
