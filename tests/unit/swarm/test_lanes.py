"""Steps of many sessions in one message: the client, whose answers come from a server behind a real socket."""

import asyncio
import gc
import weakref
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hivemind.p2p import P2P, PeerID

from services.swarm.bundles import BUNDLED_TOKENS
from services.swarm.client import lanes
from services.swarm.client.lanes import Lane, Lanes
from services.swarm.serving.open_sessions import OPEN
from tests.unit.swarm.bundle_server import BundleServer, opened, tokens

PEER = PeerID(bytes(32))


async def test_many_tokens_are_several_messages(bundle_server: BundleServer) -> None:
    names = [f"s{number}" for number in range(40)]
    for handle, name in enumerate(names):
        opened(name, handle)
    async with bundle_server.lane() as lane:
        await asyncio.gather(*(lane.step(name, 3, tokens(BUNDLED_TOKENS)) for name in names))

    assert [len(bundle.parts) for bundle in bundle_server.pool.asked] == [32, 8]
    assert bundle_server.connected == 1


async def test_who_leaves_before_the_answer_disturbs_nobody(bundle_server: BundleServer) -> None:
    for handle, name in enumerate("st"):
        opened(name, handle)
    bundle_server.pool.gate.clear()
    async with bundle_server.lane() as lane:
        leaving, staying = (asyncio.create_task(lane.step(name, 3, tokens(1))) for name in "st")
        while not bundle_server.pool.asked:
            await asyncio.sleep(0.01)
        leaving.cancel()
        bundle_server.pool.gate.set()

        assert (await staying).equal(tokens(1, 1))
        assert lane._awaited == {}


async def test_outputs_of_a_session_do_not_keep_those_of_others_in_memory(
    bundle_server: BundleServer,
) -> None:
    for handle, name in enumerate("st"):
        opened(name, handle)
    async with bundle_server.lane() as lane:
        for output in await asyncio.gather(*(lane.step(name, 3, tokens(1)) for name in "st")):
            assert output.untyped_storage().nbytes() == output.nbytes


async def test_a_lost_stream_fails_those_who_wait_and_is_opened_again(bundle_server: BundleServer) -> None:
    opened("s", 0)
    bundle_server.pool.gate.clear()
    lane = Lane(bundle_server, 5.0)
    async with bundle_server.listening():
        step = asyncio.create_task(lane.step("s", 3, tokens(1)))
        while not bundle_server.pool.asked:
            await asyncio.sleep(0.01)
        assert lane._writer is not None
        lane._writer.close()
        with pytest.raises(ConnectionError, match="is lost"):
            await step
        bundle_server.pool.gate.set()
        OPEN["s"].busy = False

        assert (await lane.step("s", 3, tokens(1))).equal(tokens(1, 1))
    assert bundle_server.connected == 2
    lane.close()


async def test_a_server_that_cannot_be_reached_fails_the_step(bundle_server: BundleServer) -> None:
    with pytest.raises(FileNotFoundError):
        await Lane(bundle_server, 5.0).step("s", 3, tokens(1))


async def test_a_silent_server_is_looked_at_and_given_up(
    bundle_server: BundleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "LOOK_SECONDS", 0.01)
    opened("s", 0)
    bundle_server.pool.gate.clear()
    async with bundle_server.lane(timeout=0.05) as lane:
        with pytest.raises(TimeoutError, match="has not answered"):
            await lane.step("s", 3, tokens(1))
        OPEN["s"].busy = False
        bundle_server.lost = True
        with pytest.raises(ConnectionError, match="lost"):
            await lane.step("s", 3, tokens(1))


async def test_steps_that_wait_when_the_lane_is_closed_fail(bundle_server: BundleServer) -> None:
    opened("s", 0)
    bundle_server.pool.gate.clear()
    async with bundle_server.lane() as lane:
        step = asyncio.create_task(lane.step("s", 3, tokens(1)))
        while not bundle_server.pool.asked:
            await asyncio.sleep(0.01)
        lane.close()
        with pytest.raises(ConnectionError, match="is closed"):
            await step


async def test_numbers_of_an_unknown_type_fail_their_step_alone(bundle_server: BundleServer) -> None:
    opened("s", 0)
    async with bundle_server.lane() as lane:
        with pytest.raises(KeyError):
            await lane.step("s", 3, tokens(1).double())
        assert (await lane.step("s", 3, tokens(1))).equal(tokens(1, 1))


class FakeDaemon:
    """Connects to a server without libp2p."""

    def __init__(self, server: BundleServer) -> None:
        self._server = server

    async def call_binary_stream_handler(self, *_: object) -> tuple[None, Any, Any]:
        return None, *await self._server.connect()

    async def list_peers(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(peer_id=PEER)]


async def test_sessions_of_one_kind_share_a_lane_whoever_comes_between(bundle_server: BundleServer) -> None:
    opened("s", 0)
    all_lanes = Lanes(cast("P2P", FakeDaemon(bundle_server)), 5.0, 5.0)
    async with bundle_server.listening():
        first = all_lanes.to(PEER, "name", "one kind")
        other = all_lanes.to(PEER, "name", "another kind")
        assert all_lanes.to(PEER, "name", "one kind") is first
        assert other is not first

        await first.step("s", 3, tokens(1))
        del first
        gc.collect()
        await all_lanes.to(PEER, "name", "one kind").step("s", 4, tokens(1))
        assert bundle_server.connected == 1
        all_lanes.close()


async def test_a_lane_that_nobody_holds_and_no_stream_needs_vanishes(bundle_server: BundleServer) -> None:
    all_lanes = Lanes(cast("P2P", FakeDaemon(bundle_server)), 5.0, 5.0)
    lane = weakref.ref(all_lanes.to(PEER, "name", "kind"))

    gc.collect()

    assert lane() is None
