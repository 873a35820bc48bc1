"""Finds servers by Petals' routing, without waiting for its thread in ours. Belongs to hivemind's event loop."""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from hivemind.moe.client.remote_expert_worker import RemoteExpertWorker
from hivemind.p2p import PeerID
from petals.client.routing import RemoteSequenceManager
from petals.data_structures import RemoteSpanInfo

from services.common.errors import CalyxError
from services.swarm.client.capabilities import Capabilities
from services.swarm.client.company import Company
from services.swarm.client.lanes import Lanes
from services.swarm.client.stream import ServerStream

_LOOK_SECONDS = 0.02
"""How often we look whether Petals' thread has read the DHT."""

_READ_SECONDS = 30.0
"""How long that may take."""

_PUSHED_SECONDS = 0.003
"""What servers and client need for a step that goes from server to server, instead of in one message with others."""

_PASSED_ON_SECONDS = -0.025
"""What passing on may lose: it spares this client's part, and between busy machines a ping is tens of milliseconds
too long."""

_LONGEST_NAME = 60
"""What a server calls itself is shown to people, and may be a stranger's joke."""


@dataclass(frozen=True)
class AnsweringServer:
    """A server in use, and which blocks of it: from ``start_block`` to before ``end_block``."""

    peer_id: str
    public_name: str | None
    start_block: int
    end_block: int

    @classmethod
    def of(cls, span: RemoteSpanInfo) -> "AnsweringServer":
        """Return what callers may know of a span."""
        name = span.server_info.public_name
        shown = "".join(filter(str.isprintable, name))[:_LONGEST_NAME].strip() if name else ""
        return cls(span.peer_id.to_base58(), shown or None, span.start, span.end)


class MissingBlocks(CalyxError):
    """No server that is online has these blocks."""

    def __init__(self, blocks: Sequence[int]) -> None:
        super().__init__(f"no server for blocks {ranges(blocks)}")


class PetalsRoutes:
    """Petals' choice of servers, and streams to them.

    Args:
        sequence: Petals' view of the servers of all blocks; its thread is started here.
        count: told of each answer whose it is (a peer's id), of how many tokens and through how many blocks.
    """

    def __init__(
        self, sequence: RemoteSequenceManager, count: Callable[[str, int, int], None] = lambda *_: None
    ) -> None:
        self._sequence, self.count = sequence, count
        self.company = Company()
        self._capabilities = Capabilities(sequence.state.p2p, sequence.config.connect_timeout)
        self._lanes = Lanes(
            sequence.state.p2p, sequence.config.connect_timeout, sequence.config.request_timeout
        )
        with sequence._thread_start_lock:
            if not sequence.is_alive():
                sequence._thread.start()

    @property
    def num_blocks(self) -> int:
        """How many blocks the model has."""
        return len(self._sequence)

    async def find(self, start: int, end: int, max_length: int) -> Sequence[RemoteSpanInfo]:
        """Return spans that together are the blocks from ``start`` to before ``end``.

        Raises:
            MissingBlocks: some of them have no server.
            TimeoutError: the DHT does not answer.
        """
        if not self._sequence.ready.is_set():
            async with asyncio.timeout(_READ_SECONDS):
                while not self._sequence.ready.is_set():
                    await asyncio.sleep(_LOOK_SECONDS)
        known = self._sequence.state.sequence_info.spans_containing_block
        if missing := [block for block in range(start, end) if not known[block]]:
            raise MissingBlocks(missing)
        spans: list[RemoteSpanInfo] = self._sequence.make_sequence(
            start, end, mode="min_latency", cache_tokens_needed=max_length
        )
        spans[-1].end = min(spans[-1].end, end)  # a server may hold more than is asked for
        return spans

    def open(self, span: RemoteSpanInfo, max_length: int) -> ServerStream:
        """Return a new session of ``max_length`` tokens on a span's server, not connected yet."""
        config, uids = self._sequence.config, self._sequence.block_uids[span.start : span.end]
        metadata = self._sequence.get_request_metadata("rpc_inference", uids, peer_id=span.peer_id)
        return ServerStream(
            self._sequence.state.p2p,
            span,
            uids,
            self._capabilities,
            self._lanes,
            {"max_length": max_length, **metadata},
            connect_timeout=config.connect_timeout,
            answer_timeout=config.request_timeout,
        )

    def pushing_pays(self, span: RemoteSpanInfo, following: RemoteSpanInfo) -> bool:
        """Tell whether the way from server to server is so much shorter than the one by way of here.

        What servers push is a message for each text; what goes from here, one for all that step together.
        """
        return self._saved(span, following, unknown=-math.inf) > _PUSHED_SECONDS * (self.company.size - 1)

    def passing_on_pays(self, span: RemoteSpanInfo, following: RemoteSpanInfo) -> bool:
        """Tell the same where what is passed on goes in one message, too.

        As long as a server was not pinged, or could not be, it is tried: who cannot reach the other answers himself.
        """
        return self._saved(span, following, unknown=math.inf) > _PASSED_ON_SECONDS

    def _saved(self, span: RemoteSpanInfo, following: RemoteSpanInfo, *, unknown: float) -> float:
        """Return by how many seconds the way from server to server is shorter than the one by way of here."""
        pings = self._sequence.ping_aggregator.ping_emas
        there, back = (pings.get(one.peer_id) for one in (span, following))
        between = (span.server_info.next_pings or {}).get(following.peer_id.to_base58(), 0.0)
        if there is None or back is None or not math.isfinite(there.value + back.value + between):
            return unknown
        return float(there.value + back.value - between) / 2

    def succeeded(self, span: RemoteSpanInfo, tokens: int) -> None:
        """Forgive a server its earlier failures, and count the tokens that it answered for."""
        self._sequence.on_request_success(span.peer_id)
        self.count(span.peer_id.to_base58(), tokens, span.end - span.start)

    def failed(self, span: RemoteSpanInfo | None) -> None:
        """Avoid a server for a while, or (None) read the DHT again."""
        if span is not None:
            self._capabilities.forget(span.peer_id)
            self._sequence.state.banned_peers.register_failure(span.peer_id)
            if self._others_have_all_without(span.peer_id):
                return
        self._sequence.update(wait=False)

    def close(self) -> None:
        """Read the DHT no more, and end the streams that sessions share."""
        RemoteExpertWorker.run_coroutine(self._end_lanes())
        self._sequence.shutdown()

    async def _end_lanes(self) -> None:
        self._lanes.close()

    def _others_have_all_without(self, peer: PeerID) -> bool:
        """Leave a server out of what is known, if every block has another one.

        Reading the DHT instead takes seconds just then: the server that is gone was one of its nodes.
        """
        with self._sequence.lock_changes:
            info = self._sequence.state.sequence_info
            others = [
                replace(block, servers={one: what for one, what in block.servers.items() if one != peer})
                for block in info.block_infos
            ]
            if not all(block.servers for block in others):
                return False
            info.update_(others)
        return True


def ranges(blocks: Sequence[int]) -> str:
    """Write block numbers as Petals writes spans: ``0:3, 7:8``, ends excluded."""
    spans: list[list[int]] = []
    for block in blocks:
        if spans and spans[-1][1] == block:
            spans[-1][1] = block + 1
        else:
            spans.append([block, block + 1])
    return ", ".join(f"{first}:{end}" for first, end in spans) or "none"
