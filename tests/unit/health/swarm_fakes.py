"""A swarm that tests arrange by hand: records with ordinary values, a directory and a clock."""

from collections.abc import Sequence
from typing import Any

from services.common.errors import Unavailable
from services.common.server_figures import GpuFigures, ServerFigures
from services.swarm.records import Claim, ModelRecord, Problem, Reading, ServerRecord

ORDINARY: dict[str, Any] = {
    "peer_id": "12D3KooWExamplePeer1",
    "state": "online",
    "start_block": 0,
    "end_block": 4,
    "throughput": 10.5,
    "public_name": "shelf",
    "version": "2.2.0.post1",
    "dtype": "bfloat16",
    "quantization": "none",
    "adapters": (),
    "cache_tokens_left": 16384,
    "using_relay": False,
    "inference_rps": 12.0,
    "forward_rps": 300.0,
    "network_rps": 90.0,
    "next_pings": {},
}

GPU = GpuFigures(
    name="NVIDIA L4",
    memory_used_bytes=9,
    memory_total_bytes=24,
    utilization=0.5,
    temperature_celsius=61.0,
)
FIGURES = ServerFigures(tokens_total=1000, batches_total=100, queued_steps=3, gpus=[GPU])


def server(**values: Any) -> ServerRecord:
    return ServerRecord(**{**ORDINARY, **values})


def model(
    *servers: ServerRecord, prefix: str = "tiny-hf", repository: str | None = None, blocks: int = 4
) -> ModelRecord:
    return ModelRecord(dht_prefix=prefix, repository=repository, num_blocks=blocks, servers=tuple(servers))


class Clock:
    """A time that moves only when told."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class FakeDirectory:
    """Answers with ``records``, or raises ``failure`` while there is one; calls find ``problems``.

    ``places`` says where a peer is, and which blocks it really has.
    """

    def __init__(self, records: Sequence[ModelRecord] = ()) -> None:
        self.records = list(records)
        self.entrances: dict[str, Problem] = {}
        self.rejected: dict[str, int] = {}
        self.problems: dict[str, Problem] = {}
        self.called: list[list[str]] = []
        self.places: dict[str, tuple[str, range]] = {}
        self.failure: Exception | None = None
        self.connections = 0
        self.open = False

    def connect(self) -> "FakeDirectory":
        self.connections += 1
        self.open = True
        return self

    def look(self) -> Reading:
        assert self.open, "read without a connection"
        if self.failure is not None:
            raise self.failure
        return Reading(tuple(self.records), self.entrances, self.rejected)

    def reach(self, peer_ids: Sequence[str]) -> dict[str, Problem]:
        assert self.open, "called without a connection"
        self.called.append(list(peer_ids))
        return {peer: self.problems.get(peer) for peer in peer_ids}

    def witness(self, claims: Sequence[Claim]) -> dict[Claim, str]:
        assert self.open, "asked without a connection"
        return {
            claim: self.places[claim.peer_id][0]
            for claim in claims
            if claim.peer_id in self.places and claim.block in self.places[claim.peer_id][1]
        }

    def close(self) -> None:
        self.open = False


SILENT = Unavailable("reading the swarm: no peer answered", "check that the bootstrap peer runs")
