"""The swarm as the health service describes it. Strangers named its servers, so what is not printed is left out."""

from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import AfterValidator, TypeAdapter, ValidationError

from services.common.printed import printed
from services.common.server_figures import ServerFigures

_TEXT = 300

Words = Annotated[str, AfterValidator(lambda text: printed(text, _TEXT))]


@dataclass(frozen=True)
class ServerState:
    """One server and the blocks ``start_block`` ≤ block < ``end_block`` that it announces."""

    peer_id: Words
    state: Words
    start_block: int
    end_block: int
    public_name: Words | None = None
    throughput: float | None = None
    tokens_per_second: float | None = None
    cache_tokens_left: int | None = None
    problem: Words | None = None
    figures: ServerFigures | None = None


@dataclass(frozen=True)
class DepartedState:
    """A server that announces itself no more; ``left_at`` is in seconds since the epoch."""

    peer_id: Words
    public_name: Words | None
    model: Words
    start_block: int
    end_block: int
    state: Words
    left_at: float


@dataclass(frozen=True)
class ModelState:
    """One model of the swarm and how much of it is there.

    Attributes:
        name: of the model.
        blocks: that it has.
        online_blocks: those that at least one server is online with.
        missing_blocks: the others, ascending.
        healthy: none is missing.
        servers: how many announce it.
        copies: of each block, the servers that are online with it.
        holders: the servers, those that are online first.
    """

    name: str
    blocks: int
    online_blocks: int
    missing_blocks: list[int]
    healthy: bool
    servers: int
    copies: list[int]
    holders: list[ServerState]


@dataclass(frozen=True)
class SwarmState:
    """What the health service says of what it saw.

    Attributes:
        age_seconds: since the swarm was last seen; None before it was.
        error: why the last look failed.
        departed: servers that left lately.
    """

    age_seconds: float | None = None
    error: Words | None = None
    departed: list[DepartedState] = field(default_factory=list)


@dataclass(frozen=True)
class _Model:
    name: Words
    num_blocks: int
    healthy: bool
    missing_blocks: list[int]
    blocks: list[int]
    servers: list[ServerState]


@dataclass(frozen=True)
class _State(SwarmState):
    models: list[_Model] = field(default_factory=list)


_STATE = TypeAdapter(_State)


def read_swarm(answer: dict[str, Any]) -> tuple[SwarmState, list[ModelState]]:
    """Read what ``/api/v2/state`` of the health service answers; another shape is an error of the swarm's state."""
    try:
        state = _STATE.validate_python(answer)
    except ValidationError:
        return SwarmState(error="the health service is of another version; `up` makes it anew"), []
    models = [
        ModelState(
            name=model.name,
            blocks=model.num_blocks,
            online_blocks=model.num_blocks - len(model.missing_blocks),
            missing_blocks=model.missing_blocks,
            healthy=model.healthy,
            servers=len(model.servers),
            copies=model.blocks,
            holders=model.servers,
        )
        for model in state.models
    ]
    return SwarmState(state.age_seconds, state.error, state.departed), models
