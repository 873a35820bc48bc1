"""What the authority answers to nodes; times are seconds since the epoch by the authority's clock."""

from dataclasses import asdict, dataclass
from typing import Any

from services.authority.nodes import Presence
from services.authority.tokens import Role


@dataclass(frozen=True)
class Lighthouse:
    """A node that others find each other through: its address in the mesh, and where it is reached outside."""

    address: str
    endpoints: list[str]


@dataclass(frozen=True)
class View:
    """What every node is told of the pool, again with each heartbeat.

    ``ca`` holds every certificate authority that is trusted now, ``ca_expires_at`` is when the newest one ends;
    ``endpoint_nodes`` are addresses of members whose endpoints others may use besides the seed's.
    """

    ca: str
    ca_expires_at: int
    lighthouses: list[Lighthouse]
    initial_peers: list[str]
    endpoint_nodes: list[str]
    blocklist: list[str]
    lease_seconds: int
    server_time: int


@dataclass(frozen=True)
class Enrolled:
    """The answer to a new node; ``credential`` is told once and kept by nobody else."""

    node_id: str
    name: str
    role: Role
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


@dataclass(frozen=True)
class Peer:
    """A node of the pool, as the others see it; one that is gone may come back."""

    name: str
    address: str
    role: Role
    state: Presence


@dataclass(frozen=True)
class Peers:
    """Every node of the pool that neither left nor was revoked, whoever asks included."""

    peers: list[Peer]


def document(answer: Enrolled | Alive | Renewed | Peers) -> dict[str, Any]:
    """Return the answer's JSON object, which has the view's fields beside the others."""
    fields = asdict(answer)
    return {**fields.pop("view", {}), **fields}
