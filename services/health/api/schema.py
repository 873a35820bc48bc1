"""The shapes of what ``/api/v2`` answers; the OpenAPI document is made from them."""

from pydantic import BaseModel, Field

from services.common.credits import NodeCredits
from services.common.server_figures import ServerFigures
from services.health.attendance import Departed
from services.health.snapshot import State


class ServerState(BaseModel):
    """One server and the blocks ``start_block`` ≤ block < ``end_block`` that it announces."""

    peer_id: str
    state: State
    start_block: int
    end_block: int
    public_name: str | None
    version: str | None
    dtype: str | None
    quantization: str | None
    adapters: list[str]
    throughput: float | None = Field(description="Tokens per second and block.")
    inference_rps: float | None
    forward_rps: float | None
    network_rps: float | None
    cache_tokens_left: int | None
    using_relay: bool | None
    next_pings: dict[str, float] = Field(description="Seconds to servers of the next blocks, by peer id.")
    tokens_per_second: float | None = Field(
        description="Tokens that passed through its blocks between its last two announcements, per second."
    )
    problem: str | None = Field(description="Why the exporter does not reach it.")
    announced_at: float | None = Field(
        description="When its newest announcement was first seen, in seconds since the epoch."
    )
    figures: ServerFigures | None = Field(description="What only servers of Calyx announce.")


class ModelState(BaseModel):
    """One model; ``blocks`` holds for each block the number of servers that are online with it."""

    name: str
    dht_prefix: str
    repository: str | None
    num_blocks: int
    healthy: bool = Field(
        description="Whether each block has at least one copy: the model is ready to be used."
    )
    missing_blocks: list[int]
    blocks: list[int]
    throughput_min: float = Field(description="Announced tokens per second of the slowest block.")
    servers: list[ServerState]


class BootstrapState(BaseModel):
    """A peer that others enter the swarm through."""

    peer_id: str
    reachable: bool
    problem: str | None


class ReachabilityIssue(BaseModel):
    """A peer that the exporter does not reach, and what its owner can do."""

    peer_id: str
    name: str
    problem: str
    remedy: str


class SwarmState(BaseModel):
    """Everything that is known; the shape is the same before the swarm was seen."""

    last_updated: str | None = Field(description="When the swarm was last seen, in ISO 8601.")
    age_seconds: float | None
    update_period: float
    update_duration: float
    models: list[ModelState]
    bootstrap: list[BootstrapState]
    contributors: dict[str, int] = Field(description="Blocks that are online under each public name.")
    reachability_issues: list[ReachabilityIssue]
    departed: list[Departed]
    left_out: int = Field(description="Announcements that are out of bounds or too many, and not shown.")
    rejected: dict[str, int] = Field(description="Records that made no sense since the start, by reason.")
    error: str | None = Field(description="Why the last look failed.")


class HistoryPoint(BaseModel):
    """One minute of a model; of several looks the worst counts."""

    time: int = Field(description="Begin of the minute, in seconds since the epoch.")
    blocks: int
    blocks_online: int
    servers_online: int


class Reach(BaseModel):
    """Whether a peer answers the exporter, as Petals' servers ask it of their own id."""

    success: bool
    message: str | None = Field(description="Why it does not answer.")
    your_ip: str


class Credits(BaseModel):
    """What nodes shared, those that shared most first, as the pool's authority booked it."""

    counted: bool = Field(
        description="Whether anything is: only the seed of a pool knows whose servers are whose."
    )
    nodes: list[NodeCredits]
