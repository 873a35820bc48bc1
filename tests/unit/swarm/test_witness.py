"""Who counts as having a block: a peer that answers for it, from the address that it says it has."""

from types import SimpleNamespace
from typing import Any

import pytest
from hivemind import MSGPackSerializer
from hivemind.p2p import PeerID
from hivemind.p2p.p2p_daemon_bindings.datastructures import PeerInfo
from hivemind.proto import runtime_pb2
from hivemind.utils.multiaddr import Multiaddr

from services.swarm.records import Claim
from services.swarm.witness import ANNOUNCED_HOST, direct_hosts, stated_host, witness

PEER = PeerID(b"\x12\x20" + bytes(32))
CLAIM = Claim(PEER.to_base58(), "tiny-hf", 3)
HOME, ELSEWHERE = "10.77.0.5", "10.77.0.9"


class FakeP2P:
    """One peer: what it says to those who ask for one of ``blocks``, and where it is connected from."""

    def __init__(self, said: Any, connected: list[str], blocks: range = range(4)) -> None:
        self.said, self.connected, self.blocks = said, connected, blocks

    async def call_protobuf_handler(self, peer: PeerID, name: str, request: Any, _: Any) -> Any:
        assert (peer, name) == (PEER, "TransformerConnectionHandler.rpc_info")
        prefix, block = request.uid.split(".")
        if prefix != "tiny-hf" or int(block) not in self.blocks:
            raise KeyError(request.uid)
        return runtime_pb2.ExpertInfo(serialized_info=MSGPackSerializer.dumps(self.said))

    async def list_peers(self) -> list[PeerInfo]:
        return [PeerInfo(PEER, [Multiaddr(address) for address in self.connected])]


async def seen(p2p: FakeP2P, claim: Claim = CLAIM) -> dict[Claim, str]:
    return await witness(None, SimpleNamespace(p2p=p2p), [claim], limit=5)


def tcp(host: str) -> str:
    return f"/ip4/{host}/tcp/31331"


async def test_a_peer_that_has_the_block_and_is_where_it_says() -> None:
    assert await seen(FakeP2P({ANNOUNCED_HOST: HOME}, [tcp(HOME)])) == {CLAIM: HOME}
    assert await seen(FakeP2P({ANNOUNCED_HOST: HOME}, [tcp(ELSEWHERE), tcp(HOME)])) == {CLAIM: HOME}


async def test_whoever_passes_another_s_bytes_on_has_nothing_of_it() -> None:
    assert await seen(FakeP2P({ANNOUNCED_HOST: HOME}, [tcp(ELSEWHERE)])) == {}


async def test_a_block_that_was_only_announced() -> None:
    assert await seen(FakeP2P({ANNOUNCED_HOST: HOME}, [tcp(HOME)], blocks=range(3))) == {}


async def test_a_relay_is_nobody_s_address() -> None:
    circuit = f"{tcp(HOME)}/p2p/{PEER.to_base58()}/p2p-circuit"

    assert await seen(FakeP2P({ANNOUNCED_HOST: HOME}, [circuit])) == {}


@pytest.mark.parametrize("said", [None, [], "x", {}, {ANNOUNCED_HOST: None}, {ANNOUNCED_HOST: ["10.77.0.5"]}])
async def test_a_peer_that_does_not_say_where_it_is(said: Any) -> None:
    assert await seen(FakeP2P(said, [tcp(HOME)])) == {}


def test_addresses_are_compared_in_one_form() -> None:
    assert direct_hosts([Multiaddr("/ip6/fd00:0:0::1/tcp/1"), Multiaddr("/dns4/example.org/tcp/1")]) == {
        "fd00::1"
    }
    assert stated_host({ANNOUNCED_HOST: "fd00:0::1"}) == "fd00::1"
    assert stated_host({ANNOUNCED_HOST: "<b>seed</b>"}) is None
