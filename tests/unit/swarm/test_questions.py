"""What is asked of hivemind's process fits into its pipe, and what that asks of others into a search."""

import asyncio
import math
import pickle
from collections.abc import Callable, Sequence
from typing import Any

from hivemind import PeerID, get_dht_time
from hivemind.utils import ValueWithExpiration

from services.swarm.directory import Directory, read_blocks
from services.swarm.parsing import MAX_BLOCKS

PIPE_BYTES = 16 * 1024
ME = PeerID(b"\x12\x20" + bytes(32))


class Node:
    """Finds one server under each key, and nobody who could be called."""

    def __init__(self) -> None:
        self.searches: list[list[str]] = []
        self.protocol = self

    async def get_many(self, keys: Sequence[str], expiration: float, num_workers: int) -> dict[str, Any]:
        assert expiration == math.inf
        self.searches.append(list(keys))
        ends = get_dht_time() + 60
        server = ValueWithExpiration((2, 1.0, {}), ends)
        return {key: ValueWithExpiration({ME.to_base58(): server}, ends) for key in keys}

    def get_stub(self, _: PeerID) -> Any:
        raise ConnectionError("nobody is there")


class Table:
    """Stands for hivemind's DHT: questions cross to another process."""

    num_workers = 32

    def __init__(self) -> None:
        self.node = Node()
        self.questions: list[int] = []

    def run_coroutine(self, question: Callable[..., Any], return_future: bool) -> Any:
        self.questions.append(len(pickle.dumps(question)))
        answer = asyncio.run(pickle.loads(pickle.dumps(question))(self, self.node))
        future: asyncio.Future[Any] = asyncio.Future(loop=asyncio.new_event_loop())
        future.result = lambda _: answer  # type: ignore[method-assign, assignment]
        return future


def test_the_blocks_of_the_deepest_model_are_asked_for_in_parts() -> None:
    table = Table()

    infos = read_blocks(table, "p" * 128, MAX_BLOCKS)

    assert [info.uid for info in infos] == [f"{'p' * 128}.{block}" for block in range(MAX_BLOCKS)]
    assert all(list(info.servers) == [ME] for info in infos)
    assert max(table.questions) < PIPE_BYTES
    assert max(map(len, table.node.searches)) <= 64


def test_a_thousand_peers_are_called_in_parts() -> None:
    table = Table()
    peers = [PeerID(b"\x00\x2a" + number.to_bytes(42, "big")).to_base58() for number in range(1000)]

    problems = Directory([], table).reach(peers)

    assert problems == dict.fromkeys(peers, "nobody is there")
    assert max(table.questions) < PIPE_BYTES
