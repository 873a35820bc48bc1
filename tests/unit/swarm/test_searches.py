"""A search of the table ends, whatever strangers stored under the keys that are searched for."""

import math
from typing import Any

import msgpack
import pytest
from hivemind import MSGPackSerializer, get_dht_time
from hivemind.dht.node import _SearchState
from hivemind.dht.routing import DHTID
from hivemind.dht.storage import DictionaryDHTValue
from hivemind.utils import ValueWithExpiration

from services.swarm.searches import Forgiving

ENDS = get_dht_time() + 24 * 3600  # after all other tests, which may run before these
GOOD = MSGPackSerializer.dumps((2, 1.0, {"start_block": 0}))


def nested_tuples(depth: int) -> bytes:
    content = b"\x00"
    for _ in range(depth):
        content = msgpack.packb(msgpack.ExtType(0x40, msgpack.packb([0]) + content))
    return content


BROKEN = [
    b"",
    b"\xc1",
    b"\xdd\xff\xff\xff\xff",
    GOOD[:-1],
    b"\x91" * 5000,
    nested_tuples(2000),
    b"\xff" * 10**6,
]


def search(value: Any) -> _SearchState:
    state = _SearchState(DHTID.generate("key"), math.inf)
    state.add_candidate(ValueWithExpiration(value, ENDS), source_node_id=DHTID.generate("peer"))
    state.finish_search()
    return state


@pytest.mark.parametrize("broken", BROKEN, ids=range(len(BROKEN)))
async def test_bytes_that_cannot_be_read_hide_nobody_else(broken: bytes) -> None:
    servers = DictionaryDHTValue()
    servers.store("liar", broken, ENDS)
    servers.store("honest", GOOD, ENDS)

    found = search(servers).future.result()

    assert {who: entry.value for who, entry in found.value.items()} == {
        "liar": None,
        "honest": (2, 1.0, {"start_block": 0}),
    }


async def test_a_value_that_cannot_be_read_is_no_announcement() -> None:
    assert search(b"\xc1").future.result().value is None


async def test_what_is_no_value_at_all_is_not_found() -> None:
    assert search(7).future.result() is None


def test_the_same_bytes_are_read_once_but_long_ones_are_not_kept() -> None:
    long = MSGPackSerializer.dumps(["x" * 10_000])

    assert Forgiving.loads(GOOD) is Forgiving.loads(bytes(bytearray(GOOD)))
    assert Forgiving.loads(long) == ["x" * 10_000]
    assert Forgiving.loads(long) is not Forgiving.loads(long)
