"""What the authority answers to nodes; times are seconds since the epoch by the authority's clock."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Lighthouse:
    """A node that others find each other through: its address in the mesh, and where it is reached outside."""

    address: str
    endpoints: list[str]


@dataclass(frozen=True)
class View:
    """What every node is told of the pool, again with each heartbeat."""

    ca: str
    lighthouses: list[Lighthouse]
    initial_peers: list[str]
    blocklist: list[str]
    lease_seconds: int
    server_time: int


@dataclass(frozen=True)
class Enrolled:
    """The answer to a new node; ``credential`` is told once and kept by nobody else."""

    node_id: str
    name: str
    address: str
    certificate: str
    credential: str
    expires_at: int
    renew_at: int
    view: View


@dataclass(frozen=True)
class Alive:
    """The answer to a heartbeat: whether to renew now the certificate that ends at ``expires_at``."""

    renew: bool
    expires_at: int
    view: View


@dataclass(frozen=True)
class Renewed:
    """The next certificate."""

    certificate: str
    ca: str
    expires_at: int
    renew_at: int


def document(answer: Enrolled | Alive | Renewed) -> dict[str, Any]:
    """Return the answer's JSON object, which has the view's fields beside the others."""
    fields = asdict(answer)
    return {**fields.pop("view", {}), **fields}
