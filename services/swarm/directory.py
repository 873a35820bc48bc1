"""Reads what the swarm announces about itself in its distributed hash table, and calls those who announce.

Models are announced under ``_petals.models`` (by prefix), servers under one key per block (by peer id), by Petals'
``ModuleAnnouncerThread``. Everything is read and judged inside the process of the DHT, so that only what makes sense
crosses to this one.
"""

import asyncio
import math
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from hivemind import DHT, get_dht_time
from hivemind.dht import DHTNode
from hivemind.p2p import PeerID
from hivemind.proto import dht_pb2
from petals.data_structures import UID_DELIMITER, ModelInfo, RemoteModuleInfo
from petals.utils.dht import _get_remote_module_infos

from services.common.errors import InvalidInput, Unavailable
from services.swarm.dht import rejoin, start_client
from services.swarm.parsing import Announced, ServerParser, is_peer_id, parse_model
from services.swarm.records import Claim, ModelRecord, Problem, Reading
from services.swarm.witness import witness

_MODELS_KEY = "_petals.models"
_TIMEOUT = 20.0
_MAX_BLOCKS = 8192
"""Blocks of all models together that one look asks for; announcing models costs a stranger nothing."""
_MAX_FIRST = 64
"""Models that are asked for before others. hivemind's process breaks when a question is longer than 16 KiB, which
these names, of at most 128 characters each, do not fill."""
_PEERS_PER_QUESTION = 128
"""Their ids do not fill it either."""
_CALLS_AT_ONCE = 32
_KEYS_PER_QUESTION = 64
_CLAIMS_PER_QUESTION = 32
_QUESTIONS_AT_ONCE = 8

_Answer = TypeVar("_Answer")


class Directory:
    """A client of the DHT that asks what is announced; several threads may use it.

    Args:
        initial_peers: multiaddrs of peers in the swarm.
        dht: a client that is there already, and that others need when this is closed.

    Raises:
        Unavailable: none of them answers.
    """

    def __init__(self, initial_peers: Sequence[str], dht: DHT | None = None) -> None:
        self._shares_dht = dht is not None
        self._dht = dht or start_client(initial_peers, remembers=False)
        self._with_servers: frozenset[str] = frozenset()

    def read(self) -> list[ModelRecord]:
        """Return every announced model with its servers, sorted by prefix.

        Raises:
            Unavailable: the DHT does not answer in time.
        """
        return list(self.look().models)

    def look(self) -> Reading:
        """Return everything that can be known of the swarm now; raises as ``read`` does."""
        entrances = rejoin(self._dht)
        models, rejected, peers = self._ask(partial(_survey, first=self._with_servers), _TIMEOUT)
        # A client that lost its peers finds nothing, or what it remembers, and looks for no new ones.
        if not peers:
            raise Unavailable("reading what the swarm announces: no peer is connected")
        by_servers = sorted(models, key=lambda model: -len(model.servers))
        self._with_servers = frozenset(model.dht_prefix for model in by_servers[:_MAX_FIRST] if model.servers)
        return Reading(tuple(models), entrances, rejected)

    def reach(self, peer_ids: Sequence[str], limit: float = 5.0) -> dict[str, Problem]:
        """Call peers, some at a time; each has ``limit`` seconds to answer.

        Raises:
            InvalidInput: that is no peer id.
            Unavailable: the DHT's process does not answer.
        """
        for peer_id in peer_ids:
            if not is_peer_id(peer_id):
                raise InvalidInput(f"calling {peer_id[:100]}: that is no id of a peer")
        verdicts: dict[str, Problem] = {}
        for first in range(0, len(peer_ids), _PEERS_PER_QUESTION):
            some = list(peer_ids[first : first + _PEERS_PER_QUESTION])
            rounds = math.ceil(len(some) / _CALLS_AT_ONCE)
            verdicts |= self._ask(partial(_call_all, peer_ids=some, limit=limit), limit * (rounds + 1))
        return verdicts

    def witness(self, claims: Sequence[Claim], limit: float = 2.0) -> dict[Claim, str]:
        """Ask peers for blocks that they announce; each has ``limit`` seconds to answer.

        Returns:
            The address of each peer that has its block, see ``services.swarm.witness``.

        Raises:
            Unavailable: the DHT's process does not answer.
        """
        seen: dict[Claim, str] = {}
        for first in range(0, len(claims), _CLAIMS_PER_QUESTION):
            part = list(claims[first : first + _CLAIMS_PER_QUESTION])
            seen |= self._ask(partial(witness, claims=part, limit=limit), 2 * limit + 1)
        return seen

    def close(self) -> None:
        """Leave the DHT."""
        if not self._shares_dht:
            self._dht.shutdown()

    def _ask(self, question: Callable[[DHT, DHTNode], Awaitable[_Answer]], limit: float) -> _Answer:
        try:
            future = self._dht.run_coroutine(question, return_future=True)
            answer: _Answer = future.result(limit)
            return answer
        except (TimeoutError, OSError) as error:
            raise _silent() from error


def _silent() -> Unavailable:
    return Unavailable("reading what the swarm announces: the DHT does not answer")


async def _survey(
    _: DHT, node: DHTNode, first: frozenset[str]
) -> tuple[list[ModelRecord], dict[str, int], int]:
    """Return models, what was rejected, and how many peers are connected."""
    found = await node.get(_MODELS_KEY, latest=True)
    announced = found.value if found is not None and isinstance(found.value, dict) else {}
    models = {prefix: parse_model(prefix, _value(entry)) for prefix, entry in announced.items()}
    parser = ServerParser(get_dht_time())
    wanted = _within_bounds({prefix: info for prefix, info in models.items() if info is not None}, first)
    parser.rejected["model"] += len(models) - len(wanted)
    keys = {prefix: _block_keys(prefix, info.num_blocks) for prefix, info in wanted.items()}
    every = [key for of_model in keys.values() for key in of_model]
    values = await _get(node, every)
    records = [
        parser.read_model(prefix, wanted[prefix], [_announced(values[key]) for key in keys[prefix]])
        for prefix in sorted(wanted)
    ]
    return records, dict(+Counter(parser.rejected)), len(await node.p2p.list_peers())


async def _get(node: DHTNode, keys: Sequence[str]) -> dict[str, Any]:
    """Return the newest value of each key."""
    found: dict[str, Any] = {}

    async def ask(some: Sequence[str]) -> None:
        found.update(await node.get_many(some, math.inf, num_workers=_CALLS_AT_ONCE))

    await _in_parts(keys, ask)
    return found


async def _in_parts(keys: Sequence[str], ask: Callable[[Sequence[str]], Awaitable[_Answer]]) -> list[_Answer]:
    """Ask for some keys at a time: hivemind's search compares every key of a question with every other."""
    free = asyncio.Semaphore(_QUESTIONS_AT_ONCE)

    async def ask_in_turn(some: Sequence[str]) -> _Answer:
        async with free:
            return await ask(some)

    parts = range(0, len(keys), _KEYS_PER_QUESTION)
    return await asyncio.gather(*(ask_in_turn(keys[first : first + _KEYS_PER_QUESTION]) for first in parts))


def _within_bounds(models: Mapping[str, ModelInfo], first: frozenset[str]) -> dict[str, ModelInfo]:
    """Keep as many models as one look can ask for: those that had servers, then others, each time different ones."""
    order = sorted(models, key=lambda prefix: (prefix not in first, random.random()))
    kept, blocks = {}, 0
    for prefix in order:
        blocks += models[prefix].num_blocks
        if blocks > _MAX_BLOCKS:
            break
        kept[prefix] = models[prefix]
    return kept


def _block_keys(prefix: str, num_blocks: int) -> list[str]:
    return [f"{prefix}{UID_DELIMITER}{block}" for block in range(num_blocks)]


def _value(entry: Any) -> Any:
    return getattr(entry, "value", None)


def _announced(found: Any) -> dict[Any, Announced]:
    value = _value(found)
    if not isinstance(value, dict):
        return {}
    return {peer: (entry.value, entry.expiration_time) for peer, entry in value.items()}


async def _call_all(_: DHT, node: DHTNode, peer_ids: list[str], limit: float) -> dict[str, Problem]:
    free = asyncio.Semaphore(_CALLS_AT_ONCE)

    async def call(peer_id: str) -> Problem:
        async with free:
            return await _call(node, PeerID.from_base58(peer_id), limit)

    problems = await asyncio.gather(*(call(peer_id) for peer_id in peer_ids))
    return dict(zip(peer_ids, problems, strict=True))


async def _call(node: DHTNode, peer: PeerID, limit: float) -> Problem:
    try:
        async with asyncio.timeout(limit):
            await node.protocol.get_stub(peer).rpc_ping(dht_pb2.PingRequest(peer=node.protocol.node_info))
    except TimeoutError:
        return f"it does not answer within {limit:g} s: a firewall may block its port"
    except Exception as error:
        # What libp2p's daemon says of a peer comes as several classes, some of them without a base of their own.
        # Peers that are reached through relays, and those that join, answer that they do not know the question.
        message = " ".join(str(error).split())[:300] or type(error).__name__
        return None if "protocol" in message and "not supported" in message else message
    return None


def read_blocks(dht: DHT, prefix: str, num_blocks: int) -> list[RemoteModuleInfo]:
    """Ask the DHT who announces each block of a model; Petals was imported before its process was started.

    Raises:
        Unavailable: the DHT does not answer in time.
    """
    try:
        question = partial(_blocks, prefix=prefix, num_blocks=num_blocks)
        infos: list[RemoteModuleInfo] = dht.run_coroutine(question, return_future=True).result(_TIMEOUT)
        return infos
    except (TimeoutError, OSError) as error:
        raise _silent() from error


async def _blocks(dht: DHT, node: DHTNode, prefix: str, num_blocks: int) -> list[RemoteModuleInfo]:
    # The names of some hundred blocks would not fit into a question to this process, so they are made here
    found = await _in_parts(
        _block_keys(prefix, num_blocks),
        lambda keys: _get_remote_module_infos(dht, node, list(keys), None, None, latest=True),
    )
    return [info for some in found for info in some]
