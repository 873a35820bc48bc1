"""What the swarm announces, as whoever looks at it gets it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from services.common.server_figures import ServerFigures

_HUB = "https://huggingface.co/"


@dataclass(frozen=True)
class ServerRecord:
    """What one server announces about itself for one model.

    ``expires_at`` (seconds since the epoch) is when its newest announcement ends; ``figures`` are what only our
    servers say.
    """

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
    expires_at: float = 0.0
    figures: ServerFigures | None = None


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


@dataclass(frozen=True)
class Claim:
    """That a peer has a block of a model, which is to be seen."""

    peer_id: str
    dht_prefix: str
    block: int


Problem = str | None
"""Why a peer is not reached, None if it is."""


@dataclass(frozen=True)
class Reading:
    """Everything that was found in one look at the swarm.

    Attributes:
        models: sorted by prefix.
        entrances: each initial peer's id → why it is not reached.
        rejected: why records were left out → how many, since each is somebody's mistake or lie.
    """

    models: tuple[ModelRecord, ...]
    entrances: Mapping[str, Problem] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)
