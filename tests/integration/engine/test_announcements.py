"""The swarm's table, read while strangers write into it."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hivemind import DHT, get_dht_time
from hivemind.dht import DHTNode
from hivemind.dht.routing import DHTID

from services.common.errors import Unavailable
from services.swarm import dht
from services.swarm.directory import Directory, read_blocks
from tests.swarm_processes import Swarm, free_port, until

MODELS = "_petals.models"


@pytest.fixture
def stranger(swarm: Swarm, tmp_path: Path) -> Iterator[DHT]:
    peer = dht.start_peer(
        swarm.initial_peers, port=free_port(), identity=tmp_path / "key", announce_host="127.0.0.1"
    )
    yield peer
    peer.shutdown()


def announce(peer: DHT, key: str, subkey: Any, value: Any) -> None:
    assert peer.store(key, value, get_dht_time() + 300, subkey=subkey)


def test_what_makes_no_sense_is_left_out(swarm: Swarm, model: str, stranger: DHT) -> None:
    server = swarm.serve(model, "1:3", CALYX_PUBLIC_NAME="mine")
    prefix = f"{model.split('/')[1]}-hf"
    directory = Directory(swarm.initial_peers)
    until(lambda: [m.dht_prefix for m in directory.read() if m.online_replicas[1:3] == [1, 1]] == [prefix])

    for subkey, value in [
        ("many", {"num_blocks": 10**9}),
        ("none", {"num_blocks": 0}),
        ("pre.fix", {"num_blocks": 4}),
        ("text", "text"),
        (7, {"num_blocks": 4}),
        ("empty", {"num_blocks": 2}),
    ]:
        announce(stranger, MODELS, subkey, value)
    for subkey, value in [
        ("no peer", (2, 1.0, {})),
        (stranger.peer_id.to_base58(), (2, 1.0, {"start_block": 0, "end_block": "all"})),
        ("Qm" + "x" * 44, (7, -1.0, "nonsense")),
        (str(stranger.peer_id), "nonsense"),
        ("", None),
    ]:
        announce(stranger, f"{prefix}.0", subkey, value)
    announce(stranger, "empty.0", None, "not a dictionary")

    found = {found.dht_prefix: found for found in directory.read()}

    assert found.keys() == {prefix, "empty"}
    assert found["empty"].missing_blocks == [0, 1]
    assert found[prefix].name == model
    assert found[prefix].missing_blocks == [0, 3]
    (mine,) = found[prefix].servers
    assert (mine.start_block, mine.end_block, mine.public_name, mine.dtype) == (1, 3, "mine", "float32")
    assert mine.cache_tokens_left is not None
    directory.close()
    swarm.stop(server)


async def _store_bytes(_: DHT, node: DHTNode, key: str, content: bytes) -> None:
    """Write bytes as they are to every peer that is known."""
    for peer in list(node.protocol.routing_table.peer_id_to_uid):
        ends = get_dht_time() + 300
        await node.protocol.call_store(peer, [DHTID.generate(key)], [content], [ends], subkeys=["liar"])


def test_bytes_that_cannot_be_read_hide_nobody(tmp_path: Path) -> None:
    first = dht.start_peer([], port=free_port(), identity=tmp_path / "first", announce_host="127.0.0.1")
    peer = dht.start_peer(
        dht.addresses(first), port=free_port(), identity=tmp_path / "key", announce_host="127.0.0.1"
    )
    announce(peer, MODELS, "tiny", {"num_blocks": 1})
    announce(peer, "tiny.0", str(peer.peer_id), (2, 1.0, {"start_block": 0, "end_block": 1}))
    for key in (MODELS, "tiny.0"):
        peer.run_coroutine(partial(_store_bytes, key=key, content=b"\xc1"))
    directory = Directory(dht.addresses(first))

    reading = directory.look()

    assert [(model.dht_prefix, model.online_replicas) for model in reading.models] == [("tiny", [1])]
    assert reading.rejected == {"model": 1, "peer": 1}
    assert [list(info.servers) for info in read_blocks(first, "tiny", 1)] == [[peer.peer_id]]
    directory.close()
    peer.shutdown()
    first.shutdown()


def test_a_swarm_that_is_gone(tmp_path: Path) -> None:
    peer = dht.start_peer([], port=free_port(), identity=tmp_path / "key", announce_host="127.0.0.1")
    directory = Directory(dht.addresses(peer))
    assert directory.read() == []

    peer.shutdown()

    with pytest.raises(Unavailable, match="reading what the swarm announces: "):
        directory.read()
    directory.close()


def test_a_table_that_keeps_what_is_written_to_it(swarm: Swarm, stranger: DHT) -> None:
    dht.check(stranger)

    assert all("/tcp/" in address and str(stranger.peer_id) in address for address in dht.addresses(stranger))
