"""What a server shares with the swarm."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from services.common.settings.base import Section, WordList


class ServerSettings(Section):
    """Read by the server of blocks alone."""

    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    """Where blocks run: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Type of weights and activations; ``auto`` takes the model's own, and bfloat16 on a CPU only if the CPU
    computes in it."""

    num_blocks: int | None = Field(default=None, ge=1)
    """How many blocks to serve; empty serves as many as the free memory holds."""

    block_indices: str | None = Field(default=None, pattern=r"^\d+:\d+$")
    """Exactly these blocks, as ``first:end`` (the end is not served); empty lets the swarm's needs decide."""

    server_port: int = Field(default=31331, ge=1, le=65535)
    """TCP port that the server listens on inside the node's network; in the public swarm also the port of this
    machine that others reach it at."""

    relays: bool = False
    """1 asks peers of the swarm whether they reach this server, and if they do not, lets relays of the swarm carry
    its traffic; for swarms that are open to the Internet."""

    server_identity: Path = Path("/identity/server.key")
    """Private key of the server, made when missing; keeps its peer id over restarts."""

    public_name: str | None = Field(default=None, max_length=60)
    """A name shown beside what this server shares."""

    throughput: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Tokens per second and block that the server announces; routing prefers higher figures."""

    attn_cache_tokens: int = Field(default=16384, ge=1)
    """Tokens of attention cache for all sessions together."""

    max_session_tokens: int = Field(default=8192, ge=1)
    """The most tokens one session may hold."""

    prefill_chunk_tokens: int = Field(default=512, ge=1)
    """The most tokens of a prompt that pass through the blocks at once."""

    quantization: Literal["none", "int8", "nf4"] = "none"
    """How the blocks' weights are kept: ``int8`` takes half the memory and computes nearly the same; ``nf4`` takes
    little more than a quarter, computes less exactly, and is slow on a CPU."""

    adapters: WordList = Field(default_factory=list)
    """LoRA adapters of peft to offer beside the model, by their names on the hub, with spaces or commas between
    them; each request says which one it wants, if any. They are looked for where models are."""

    scheduler: Literal["stock", "batched"] = "batched"
    """How steps of several sessions share the blocks: ``batched`` runs all that wait together; ``stock`` runs one
    after another, as Petals does."""

    batch_tokens: int = Field(default=128, ge=1)
    """The most tokens of all sessions that pass through the blocks together with the scheduler ``batched``; a
    longer prompt takes turns with the others."""

    batch_seconds: float = Field(default=0.06, gt=0)
    """How long such a passage should take at most, in seconds; on a slow machine fewer tokens pass together, so that
    a long prompt does not stop the others."""

    cuda_graphs: bool = False
    """1 lets a GPU repeat steps of single tokens as CUDA graphs, with the scheduler ``batched``; nobody has
    measured it on a GPU yet."""

    num_handlers: int = Field(default=2, ge=1, le=64)
    """Processes that receive requests from the network."""

    announce_period: float = Field(default=20.0, gt=0)
    """Seconds between two announcements of the served blocks in the DHT."""

    drain_seconds: float = Field(default=4.0, ge=0)
    """How long a stopping server waits for the steps that are running."""

    @field_validator("block_indices")
    @classmethod
    def _ascending(cls, value: str | None) -> str | None:
        if value is not None:
            first, end = map(int, value.split(":"))
            if first >= end:
                raise ValueError("the first block must lie before the end")
        return value

    @model_validator(mode="after")
    def _one_way_to_choose(self) -> "ServerSettings":
        if self.num_blocks is not None and self.block_indices is not None:
            raise ValueError("set CALYX_NUM_BLOCKS or CALYX_BLOCK_INDICES, not both")
        return self
