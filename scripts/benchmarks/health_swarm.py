"""A large swarm that is none: one peer writes into its table what a thousand servers would."""

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from hivemind import DHT, get_dht_time
from hivemind.dht import DHTNode
from hivemind.p2p import PeerID

from services.swarm import dht

MODELS, BLOCKS, SERVERS, SPAN = 20, 126, 1000, 30
_LIFETIME = 3600


@contextmanager
def large_swarm(folder: Path) -> Iterator[list[str]]:
    """Give the address of a peer whose table is full; it is gone when the context ends.

    Args:
        folder: for its key.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    peer = dht.start_peer([], port=port, identity=folder / "key", announce_host="127.0.0.1")
    try:
        peer.run_coroutine(_fill)
        yield dht.addresses(peer)
    finally:
        peer.shutdown()


async def _fill(_: DHT, node: DHTNode) -> None:
    chance = random.Random(1)
    keys: list[str] = []
    subkeys: list[str] = []
    values: list[Any] = []
    for number in range(MODELS):
        keys.append("_petals.models")
        subkeys.append(f"model-{number}-hf")
        values.append({"num_blocks": BLOCKS, "repository": f"https://huggingface.co/owner/model-{number}"})
    for number in range(SERVERS):
        peer = PeerID(b"\x12\x20" + chance.randbytes(32)).to_base58()
        start = chance.randrange(BLOCKS - SPAN + 1)
        value = (2, chance.uniform(1, 1000), _about(number, start))
        for block in range(start, start + SPAN):
            keys.append(f"model-{number % MODELS}-hf.{block}")
            subkeys.append(peer)
            values.append(value)
    store = partial(node.store_many, expiration_time=get_dht_time() + _LIFETIME)
    await store(keys, values, subkeys=subkeys)


def _about(number: int, start: int) -> dict[str, Any]:
    return {
        "start_block": start,
        "end_block": start + SPAN,
        "public_name": f"server {number}",
        "version": "2.2.0.post1",
        "network_rps": 1000.0,
        "forward_rps": 500.0,
        "inference_rps": 50.0,
        "adapters": (),
        "torch_dtype": "bfloat16",
        "quant_type": "none",
        "using_relay": False,
        "cache_tokens_left": 16384,
        "next_pings": {},
        "calyx": {"tokens_total": number, "batches_total": number},
    }
