"""How a session finds its server's handler and which way its steps go, with a daemon of libp2p that is none."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
import torch
from hivemind import MSGPackSerializer
from hivemind.p2p import P2P, PeerID
from hivemind.p2p.p2p_daemon_bindings.utils import ControlFailure
from hivemind.proto import runtime_pb2
from petals.data_structures import RemoteSpanInfo, ServerInfo, ServerState

from services.swarm.bundles import Onward
from services.swarm.client import stream
from services.swarm.client.capabilities import Capabilities, ServerTerms
from services.swarm.client.lanes import Lane, Lanes
from services.swarm.client.onward import Heard, NextFailed
from services.swarm.client.stream import ServerStream

PEER = PeerID(bytes(32))
HIDDEN = torch.ones(1, 20, 8)


class FakeDaemon:
    """The way to a server whose only handler has this name."""

    def __init__(self, handler: str) -> None:
        self.handler = handler
        self.called: list[str] = []
        self.alone = 0
        """How many steps it had by the session's own stream."""

        self.starts: list[int | None] = []
        """Where these steps started, where that was said."""

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
            self.starts.append(MSGPackSerializer.loads(request.metadata).get("start_from_position"))
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

    connection = 1

    def __init__(self) -> None:
        self.together = 0
        self.onward: list[Onward] = []
        self.fails = False

    def to(self, _: PeerID, __: str, ___: str) -> Any:
        return self

    async def step(self, _: str, __: int, hidden: torch.Tensor) -> torch.Tensor:
        self.together += 1
        return hidden

    async def step_onward(
        self, _: str, __: int, hidden: torch.Tensor, onward: Onward, following: Lane
    ) -> Heard:
        self.onward.append(onward)
        if self.fails:
            raise NextFailed
        return Heard(hidden, passed_on=True)


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
    return asyncio.run(session.exchange(HIDDEN[:, :3], "step", [], pushed=False))


def test_a_server_that_was_started_again_is_asked_for_its_new_handlers() -> None:
    daemon = FakeDaemon("new")

    assert step(daemon, FakeCapabilities("old", "new")).equal(HIDDEN[:, :3])

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


class Pair:
    """A text's sessions at two servers in a row."""

    def __init__(self) -> None:
        self.daemons = FakeDaemon("one"), FakeDaemon("one")
        self.lanes = FakeLanes(), FakeLanes()
        self.first, self.second = (
            stream_to(daemon, FakeCapabilities("one"), lanes)
            for daemon, lanes in zip(self.daemons, self.lanes, strict=True)
        )

    async def step(self, tokens: int) -> None:
        for session in (self.first, self.second):
            await session.exchange(HIDDEN[:, :tokens], "step", [], pushed=False)

    def passes_on(self, tokens: int = 1) -> bool:
        return self.first.passes_on(self.second, tokens)


async def test_a_server_may_pass_on_once_both_have_answered_with_others() -> None:
    pair = Pair()
    assert not pair.passes_on()
    await pair.step(3)
    assert not pair.passes_on(), "the second one does not know yet where to answer"
    await pair.step(1)
    assert pair.passes_on()
    assert not pair.passes_on(17)

    pair.lanes[1].connection = 2
    assert not pair.passes_on(), "what it knew is no more"


async def test_nothing_is_passed_on_when_a_step_has_to_go_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair()
    await pair.step(3)
    await pair.step(1)
    monkeypatch.setattr(stream, "_BUNDLED_SECONDS", 0.0)

    assert not pair.passes_on()


async def test_both_servers_move_on_and_are_told_where_the_next_step_starts_that_goes_alone() -> None:
    pair = Pair()
    await pair.step(3)
    await pair.step(1)
    heard = await pair.first.exchange_onward(HIDDEN[:, :2], pair.second)
    await pair.step(17)

    assert heard.passed_on
    assert [onward.handler for onward in pair.lanes[0].onward] == ["one"]
    assert [daemon.starts for daemon in pair.daemons] == [[None, 6], [None, 6]]
    assert [lanes.together for lanes in pair.lanes] == [1, 1]


async def test_after_a_failure_the_next_step_goes_alone_for_both_may_run_or_have_run_it() -> None:
    """A server refuses two steps of a session at once, but those that come by Petals' way wait for each other."""
    pair = Pair()
    await pair.step(3)
    await pair.step(1)
    await pair.step(17)
    pair.lanes[0].fails = True
    with pytest.raises(NextFailed):
        await pair.first.exchange_onward(HIDDEN[:, :2], pair.second)
    assert not pair.passes_on()
    await pair.step(2)

    assert [daemon.starts for daemon in pair.daemons] == [[None, 4, 21], [None, 4, 21]]
    assert pair.passes_on()
