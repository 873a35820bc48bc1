"""From values of the swarm's table to records. Strangers wrote them all: what makes no sense is left out and counted.

A server writes the same announcement under the key of each of its blocks, so values that equal the one before are
not read again: checking each would take a minute for a thousand servers.
"""

import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from hivemind.p2p import PeerID
from petals.data_structures import CHAIN_DELIMITER, UID_DELIMITER, ModelInfo, ServerInfo
from pydantic import ValidationError

from services.common.server_figures import KEY, ServerFigures
from services.swarm.records import ModelRecord, ServerRecord

logger = logging.getLogger(__name__)

MAX_BLOCKS = 1000
"""More than any model has; a record that claims more is a mistake or a lie."""
MAX_SERVERS = 4096
"""Announcements of one block that are read."""
MAX_LIFETIME = 24 * 3600.0
"""Seconds that an announcement may be valid; a clock that is wrong, or a lie, makes others immortal."""
REASONS = ("model", "peer", "server", "figures", "expiration", "span", "too many")
"""Why records are left out; ``figures`` costs only what the server says beside Petals' own fields."""
_MAX_PREFIX = 128  # bytes
_MAX_TEXT = 400
_MAX_LIST = 64
_SHA256, _SHA256_BYTES = 0x12, 32
_IDENTITY, _IDENTITY_BYTES = 0x00, 42  # libp2p hashes keys that are longer

Announced = tuple[Any, float]
"""A value that somebody wrote, and when it ends, in seconds since the epoch."""


def parse_model(prefix: Any, value: Any) -> ModelInfo | None:
    """Return what is announced about a model, None if it makes no sense."""
    if not isinstance(prefix, str) or UID_DELIMITER in prefix or CHAIN_DELIMITER in prefix:
        return None
    if len(prefix.encode(errors="surrogatepass")) > _MAX_PREFIX:
        return None
    try:
        info = ModelInfo.from_dict(value)
    except (TypeError, ValueError, AttributeError) as error:
        logger.debug("left out a malformed model record", extra={"prefix": prefix, "error": str(error)[:200]})
        return None
    if info.repository is not None and len(info.repository) > _MAX_TEXT:
        return None
    return info if info.num_blocks <= MAX_BLOCKS else None


class ServerParser:
    """Reads announcements of servers and counts those that it left out.

    Args:
        now: seconds since the epoch.
    """

    def __init__(self, now: float) -> None:
        self.rejected: Counter[str] = Counter()
        self._now = now
        self._peers: dict[str, bool] = {}

    def read_model(
        self, prefix: str, info: ModelInfo, blocks: Sequence[Mapping[Any, Announced]]
    ) -> ModelRecord:
        """Return a model with its servers, sorted by their blocks.

        Args:
            prefix: of the model's keys.
            info: what is announced about it.
            blocks: for each block, who announced what.
        """
        spans: dict[str, _Span] = {}
        last: dict[str, tuple[Any, ServerInfo | None]] = {}
        for block, announced in enumerate(blocks):
            self.rejected["too many"] += max(0, len(announced) - MAX_SERVERS)
            for peer, (value, expires_at) in islice(announced.items(), MAX_SERVERS):
                if not self._is_peer(peer):
                    continue
                if not self._now - MAX_LIFETIME < expires_at < self._now + MAX_LIFETIME:
                    self.rejected["expiration"] += 1
                    continue
                if peer not in last or not _same(last[peer][0], value):
                    last[peer] = value, self._server(value)
                server = last[peer][1]
                if server is not None:
                    _extend(spans, peer, block, server, value, expires_at)
        records = [self._record(peer, span, len(blocks)) for peer, span in spans.items()]
        servers = sorted(
            (record for record in records if record is not None),
            key=lambda record: (record.start_block, record.peer_id),
        )
        return ModelRecord(prefix, info.repository, info.num_blocks, tuple(servers))

    def _is_peer(self, peer: Any) -> bool:
        if not isinstance(peer, str) or len(peer) > _MAX_TEXT:
            self.rejected["peer"] += 1
            return False
        if peer not in self._peers:
            self._peers[peer] = is_peer_id(peer)
        if not self._peers[peer]:
            self.rejected["peer"] += 1
        return self._peers[peer]

    def _server(self, value: Any) -> ServerInfo | None:
        try:
            return ServerInfo.from_tuple(value)
        except Exception as error:
            # Petals reads the value with whatever types a stranger chose, so any error may come out of it
            self.rejected["server"] += 1
            logger.debug("left out a malformed server record", extra={"error": str(error)[:200]})
            return None

    def _record(self, peer: str, span: "_Span", num_blocks: int) -> ServerRecord | None:
        info, start, end = span.info, span.start, min(span.end, num_blocks)
        if not 0 <= start < end or not math.isfinite(info.throughput):
            self.rejected["span"] += 1
            return None
        return ServerRecord(
            peer_id=peer,
            state=info.state.name.lower(),
            start_block=start,
            end_block=end,
            throughput=info.throughput,
            public_name=_cut(info.public_name),
            version=_cut(info.version),
            dtype=_cut(info.torch_dtype),
            quantization=_cut(info.quant_type),
            adapters=tuple(adapter[:_MAX_TEXT] for adapter in islice(info.adapters, _MAX_LIST)),
            cache_tokens_left=info.cache_tokens_left,
            using_relay=info.using_relay,
            inference_rps=info.inference_rps,
            forward_rps=info.forward_rps,
            network_rps=info.network_rps,
            next_pings={
                other[:_MAX_TEXT]: seconds
                for other, seconds in islice((info.next_pings or {}).items(), _MAX_LIST)
            },
            expires_at=span.expires_at,
            figures=self._figures(span.value),
        )

    def _figures(self, value: Any) -> ServerFigures | None:
        said = value[2].get(KEY) if len(value) > 2 else None
        if said is None:
            return None
        try:
            return ServerFigures.model_validate(said)
        except ValidationError:
            self.rejected["figures"] += 1
            return None


def _same(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except RecursionError:  # a stranger nested it
        return False


class _Span:
    """The blocks that a peer announces in one state; the highest of its states counts, as for Petals' clients."""

    def __init__(self, block: int, info: ServerInfo, value: Any, expires_at: float) -> None:
        self.info, self.value, self.expires_at = info, value, expires_at
        declared = info.start_block is not None and info.end_block is not None
        self.start = info.start_block if declared else block
        self.end = info.end_block if declared else block + 1


def _extend(
    spans: dict[str, _Span], peer: str, block: int, info: ServerInfo, value: Any, expires_at: float
) -> None:
    span = spans.get(peer)
    if span is None or span.info.state.value < info.state.value:
        spans[peer] = _Span(block, info, value, expires_at)
    elif span.info.state == info.state:
        span.end = max(span.end, block + 1)
        span.expires_at = max(span.expires_at, expires_at)


def is_peer_id(text: str) -> bool:
    """Tell whether a text is the id of a peer of libp2p in base 58: a hash of its key, or the key itself."""
    try:
        raw: bytes = PeerID.from_base58(text).to_bytes()
    except ValueError:
        return False
    if not 2 < len(raw) == raw[1] + 2:
        return False
    return raw[:2] == bytes((_SHA256, _SHA256_BYTES)) or (raw[0] == _IDENTITY and raw[1] <= _IDENTITY_BYTES)


def _cut(text: str | None) -> str | None:
    return text if text is None else text[:_MAX_TEXT]
