"""Reads what the swarm announces about itself in its distributed hash table.

Models are announced under ``_petals.models`` (by prefix), servers under one key per block (by peer id), by Petals'
``ModuleAnnouncerThread``. Everything read here was written by strangers: what does not fit is left out.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hivemind import DHT
from hivemind.dht import DHTNode
from petals.data_structures import (
    CHAIN_DELIMITER,
    UID_DELIMITER,
    ModelInfo,
    RemoteModuleInfo,
    ServerInfo,
    ServerState,
)
from petals.utils.dht import compute_spans, get_remote_module_infos

from services.common.errors import Unavailable
from services.swarm.dht import rejoin, start_client

logger = logging.getLogger(__name__)

MAX_BLOCKS = 1000
"""More than any model has; a record that claims more is a mistake or a lie."""
_MODELS_KEY = "_petals.models"
_HUB = "https://huggingface.co/"
_TIMEOUT = 20.0


@dataclass(frozen=True)
class ServerRecord:
    """What one server announces about itself for one model."""

    peer_id: str
    state: Literal["offline", "joining", "online"]
    start_block: int
    end_block: int
    throughput: float
    public_name: str | None
    version: str | None
    dtype: str | None
    quantization: str | None
    adapters: tuple[str, ...]
    cache_tokens_left: int | None
    using_relay: bool | None
    inference_rps: float | None
    forward_rps: float | None
    network_rps: float | None
    next_pings: dict[str, float]


@dataclass(frozen=True)
class ModelRecord:
    """What the swarm announces about one model."""

    dht_prefix: str
    repository: str | None
    num_blocks: int
    servers: tuple[ServerRecord, ...]

    @property
    def name(self) -> str:
        """Return the model's hub name, or its prefix if its servers do not say."""
        if self.repository is not None and self.repository.startswith(_HUB):
            return self.repository.removeprefix(_HUB)
        return self.dht_prefix

    @property
    def online_replicas(self) -> list[int]:
        """Return for each block how many servers have it online."""
        replicas = [0] * self.num_blocks
        for server in self.servers:
            if server.state == "online":
                for block in range(server.start_block, server.end_block):
                    replicas[block] += 1
        return replicas

    @property
    def missing_blocks(self) -> list[int]:
        """Return the blocks that no server has online."""
        return [block for block, count in enumerate(self.online_replicas) if count == 0]

    @property
    def healthy(self) -> bool:
        """Tell whether every block is online at least once, so that the model is ready to be used."""
        return not self.missing_blocks


class Directory:
    """A client of the DHT that asks what is announced.

    Args:
        initial_peers: multiaddrs of peers in the swarm.
        dht: a client that is there already, and that others need when this is closed.

    Raises:
        Unavailable: none of them answers.
    """

    def __init__(self, initial_peers: Sequence[str], dht: DHT | None = None) -> None:
        self._shares_dht = dht is not None
        self._dht = dht or start_client(initial_peers)

    def read(self) -> list[ModelRecord]:
        """Return every announced model with its servers, sorted by prefix.

        Raises:
            Unavailable: the DHT does not answer in time.
        """
        rejoin(self._dht)
        try:
            found = self._dht.get(_MODELS_KEY, latest=True, return_future=True).result(_TIMEOUT)
            announced = found.value if found is not None and isinstance(found.value, dict) else {}
            models = {
                str(prefix): info
                for prefix, record in announced.items()
                if (info := _parse_model(prefix, getattr(record, "value", None))) is not None
            }
            records = [self._read_model(prefix, models[prefix]) for prefix in sorted(models)]
            # A client that lost its peers finds nothing, or what it remembers, and looks for no new ones.
            if not self._dht.run_coroutine(_connected_peers, return_future=True).result(_TIMEOUT):
                raise Unavailable("reading what the swarm announces: no peer is connected")
            return records
        except (TimeoutError, OSError) as error:
            raise _silent() from error

    def _read_model(self, prefix: str, info: ModelInfo) -> ModelRecord:
        infos = read_blocks(self._dht, prefix, info.num_blocks)
        return ModelRecord(prefix, info.repository, info.num_blocks, tuple(_server_records(infos)))

    def close(self) -> None:
        """Leave the DHT."""
        if not self._shares_dht:
            self._dht.shutdown()


async def _connected_peers(_: DHT, node: DHTNode) -> int:
    return len(await node.p2p.list_peers())


def _silent() -> Unavailable:
    return Unavailable("reading what the swarm announces: the DHT does not answer")


def read_blocks(dht: DHT, prefix: str, num_blocks: int) -> list[RemoteModuleInfo]:
    """Ask the DHT who announces each block of a model.

    Raises:
        Unavailable: the DHT does not answer in time.
    """
    uids = [f"{prefix}{UID_DELIMITER}{block}" for block in range(num_blocks)]
    try:
        found = get_remote_module_infos(dht, uids, latest=True, return_future=True)
        infos: list[RemoteModuleInfo] = found.result(_TIMEOUT)
        return infos
    except (TimeoutError, OSError) as error:
        raise _silent() from error


def _parse_model(prefix: Any, value: Any) -> ModelInfo | None:
    if not isinstance(prefix, str) or UID_DELIMITER in prefix or CHAIN_DELIMITER in prefix:
        return None
    try:
        info = ModelInfo.from_dict(value)
    except (TypeError, ValueError, AttributeError) as error:
        logger.debug("left out a malformed model record", extra={"prefix": prefix, "error": str(error)[:200]})
        return None
    return info if info.num_blocks <= MAX_BLOCKS else None


def _server_records(infos: list[RemoteModuleInfo]) -> list[ServerRecord]:
    spans = compute_spans(infos, min_state=ServerState.OFFLINE)
    records = []
    for peer_id, span in spans.items():
        info: ServerInfo = span.server_info
        if not 0 <= span.start < span.end <= len(infos) or not math.isfinite(info.throughput):
            continue
        records.append(
            ServerRecord(
                peer_id=peer_id.to_base58(),
                state=info.state.name.lower(),
                start_block=span.start,
                end_block=span.end,
                throughput=info.throughput,
                public_name=info.public_name,
                version=info.version,
                dtype=info.torch_dtype,
                quantization=info.quant_type,
                adapters=tuple(info.adapters),
                cache_tokens_left=info.cache_tokens_left,
                using_relay=info.using_relay,
                inference_rps=info.inference_rps,
                forward_rps=info.forward_rps,
                network_rps=info.network_rps,
                next_pings=dict(info.next_pings or {}),
            )
        )
    return sorted(records, key=lambda record: (record.start_block, record.peer_id))
