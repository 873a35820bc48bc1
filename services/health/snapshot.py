"""What was known of the swarm at one moment, cleaned and bounded.

Any peer may announce anything, so nothing is taken over unchecked: announcements beyond the limits below are
left out and counted, figures that cannot be true become ``None``, and text is cut and freed of characters
that are not printed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Literal, get_args

from services.common.printed import printed
from services.common.server_figures import ServerFigures

if TYPE_CHECKING:
    from services.swarm.records import ModelRecord, Problem, ServerRecord

MAX_MODELS = 32
MAX_BLOCKS = 512
"""Blocks of one model; the deepest public ones have about 130."""
MAX_SERVERS = 256
"""Servers of one model that are shown; all of them are counted."""
MAX_ADAPTERS = 16
MAX_PINGS = 32
MAX_PING = 3600.0
MAX_TEXT = 100
"""Characters of a name or version."""
MAX_RATE = 1e9
"""Tokens or requests per second."""
MAX_CACHE_TOKENS = 10**12

State = Literal["offline", "paused", "joining", "unreachable", "online"]
STATES: tuple[State, ...] = get_args(State)
"""``paused``: said goodbye and comes back when its owner wants; ``unreachable``: says online, and does not answer."""


@dataclass(frozen=True)
class Server:
    """One peer and the blocks ``start_block`` ≤ block < ``end_block`` that it serves of one model.

    ``throughput`` is in tokens per second and block, the ``…_rps`` are in requests per second, ``next_pings`` in
    seconds by peer; ``tokens_per_second`` passed through its blocks between its last two announcements. ``problem``
    says why it is not reached, ``announced_at`` when its newest announcement was first seen (seconds since the
    epoch), ``figures`` what only our servers say.
    """

    peer_id: str
    state: State
    start_block: int
    end_block: int
    public_name: str | None
    version: str | None
    dtype: str | None
    quantization: str | None
    adapters: tuple[str, ...]
    throughput: float | None
    inference_rps: float | None
    forward_rps: float | None
    network_rps: float | None
    cache_tokens_left: int | None
    using_relay: bool | None
    next_pings: Mapping[str, float]
    tokens_per_second: float | None
    problem: str | None
    announced_at: float | None
    figures: ServerFigures | None

    @property
    def num_blocks(self) -> int:
        """How many blocks it holds."""
        return self.end_block - self.start_block


@dataclass(frozen=True)
class Model:
    """One model and who serves its blocks; ``name`` is unique within a snapshot.

    ``replicas`` (for each block the number of servers that are online with it), ``throughputs`` (the sum of what
    these announce) and ``counts`` are about all servers, ``servers`` are the ones that are shown.
    """

    name: str
    dht_prefix: str
    repository: str | None
    num_blocks: int
    replicas: tuple[int, ...]
    throughputs: tuple[float, ...]
    counts: Mapping[State, int]
    blocks_by_state: Mapping[State, int]
    servers: tuple[Server, ...]

    @cached_property
    def missing_blocks(self) -> tuple[int, ...]:
        """The blocks that no server is online with, ascending."""
        return tuple(block for block, copies in enumerate(self.replicas) if copies == 0)

    @property
    def healthy(self) -> bool:
        """Whether the model can be used: each block has at least one copy."""
        return not self.missing_blocks


@dataclass(frozen=True)
class Snapshot:
    """All models at ``taken_at`` (seconds since the epoch), and how many announcements were left out."""

    models: tuple[Model, ...]
    taken_at: float
    left_out: int = 0


@dataclass(frozen=True)
class Observations:
    """What is known of peers beside their announcements: why some are not reached, since when others announce, and
    how many tokens per second they serve."""

    problems: Mapping[str, "Problem"] = field(default_factory=dict)
    announced_at: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """By prefix of the model and peer id."""
    tokens_per_second: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """By the same."""


def take_snapshot(
    records: Sequence["ModelRecord"], taken_at: float, observations: Observations | None = None
) -> Snapshot:
    """Turn what the directory read into a snapshot, the models that can be used first."""
    seen = observations or Observations()
    models = [model for record in records if (model := _model(record, seen)) is not None]
    announced_servers = sum(len(record.servers) for record in records)
    models.sort(key=lambda model: (not model.healthy, -model.counts["online"], model.dht_prefix))
    kept = _with_unique_names(models[:MAX_MODELS])
    left_out = len(records) - len(kept) + announced_servers - sum(len(model.servers) for model in kept)
    kept.sort(key=lambda model: (not model.healthy, model.name))
    return Snapshot(tuple(kept), taken_at, left_out)


def _model(record: "ModelRecord", seen: Observations) -> Model | None:
    prefix = clean(record.dht_prefix)
    # A shortened map would call an incomplete model complete, so one that is too long is no model at all.
    if prefix is None or not 1 <= record.num_blocks <= MAX_BLOCKS:
        return None
    servers = [server for one in record.servers if (server := _server(one, record, seen)) is not None]
    servers.sort(key=lambda server: (-STATES.index(server.state), server.start_block, server.peer_id))
    online = [server for server in servers if server.state == "online"]
    return Model(
        name=clean(record.name) or prefix,
        dht_prefix=prefix,
        repository=clean(record.repository),
        num_blocks=record.num_blocks,
        replicas=tuple(map(int, _per_block([(one, 1) for one in online], record.num_blocks))),
        throughputs=tuple(
            max(0.0, sum_)
            for sum_ in _per_block([(one, one.throughput or 0.0) for one in online], record.num_blocks)
        ),
        counts={state: sum(server.state == state for server in servers) for state in STATES},
        blocks_by_state={
            state: sum(server.num_blocks for server in servers if server.state == state) for state in STATES
        },
        servers=tuple(servers[:MAX_SERVERS]),
    )


def _per_block(servers: Sequence[tuple[Server, float]], num_blocks: int) -> list[float]:
    """Return for each block the sum of what the servers that hold it bring."""
    change = [0.0] * (num_blocks + 1)
    for server, brings in servers:
        change[server.start_block] += brings
        change[server.end_block] -= brings
    return list(accumulate(change[:num_blocks]))


def _server(record: "ServerRecord", model: "ModelRecord", seen: Observations) -> Server | None:
    peer_id = clean(record.peer_id)
    placed = 0 <= record.start_block < record.end_block <= model.num_blocks
    if peer_id is None or record.state not in ("offline", "joining", "online") or not placed:
        return None
    tokens = record.cache_tokens_left
    problem = clean(seen.problems.get(record.peer_id)) if record.state == "online" else None
    key = model.dht_prefix, record.peer_id
    return Server(
        peer_id=peer_id,
        state=_state(record, problem),
        start_block=record.start_block,
        end_block=record.end_block,
        public_name=clean(record.public_name),
        version=clean(record.version),
        dtype=clean(record.dtype),
        quantization=clean(record.quantization),
        adapters=tuple(name for one in record.adapters[:MAX_ADAPTERS] if (name := clean(one)) is not None),
        throughput=_rate(record.throughput),
        inference_rps=_rate(record.inference_rps),
        forward_rps=_rate(record.forward_rps),
        network_rps=_rate(record.network_rps),
        cache_tokens_left=tokens if tokens is not None and 0 <= tokens <= MAX_CACHE_TOKENS else None,
        using_relay=record.using_relay,
        next_pings=_pings(record.next_pings),
        tokens_per_second=_rate(seen.tokens_per_second.get(key)),
        problem=problem,
        announced_at=seen.announced_at.get(key),
        figures=record.figures,
    )


def _state(record: "ServerRecord", problem: str | None) -> State:
    if record.state == "online":
        return "unreachable" if problem else "online"
    paused = record.figures is not None and record.figures.paused
    return "paused" if record.state == "offline" and paused else record.state


def _pings(pings: Mapping[str, float]) -> dict[str, float]:
    """Keep round trips that were measured; a peer that did not answer is announced as endlessly far."""
    return {
        name: seconds
        for peer, seconds in islice(pings.items(), MAX_PINGS)
        if 0 <= seconds <= MAX_PING and (name := clean(peer)) is not None
    }


def clean(value: str | None) -> str | None:
    """Keep what is printed of a name, None if that is nothing; see :func:`services.common.printed.printed`."""
    return None if value is None else printed(value, MAX_TEXT) or None


def _rate(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) and 0 <= value <= MAX_RATE else None


def _with_unique_names(models: Sequence[Model]) -> list[Model]:
    """Tell apart models that claim one name, because metrics allow a name only once; the first keeps it."""
    named: dict[str, Model] = {}
    for model in models:
        name = model.name if model.name not in named else f"{model.name} ({model.dht_prefix})"
        if name not in named:
            named[name] = replace(model, name=name)
    return list(named.values())
