"""What a node says of its place in its pool and of its ways to the others: the sidecar writes it, people read it."""

from dataclasses import dataclass, field
from typing import Literal

Way = Literal["direct", "relayed", "none"]


@dataclass(frozen=True)
class PeerReport:
    """Another node of the pool.

    Attributes:
        name: what it is called.
        address: in the mesh.
        way: how packets reach it.
        through: the address they go to, or the names of the nodes that relay them.
        state: what the authority says of it; None if that was not asked.
        milliseconds: that an echo took; None if none came, or none was asked for.
    """

    name: str
    address: str
    way: Way
    through: str
    state: str | None = None
    milliseconds: float | None = None


@dataclass(frozen=True)
class NodeReport:
    """This node; times are seconds since the epoch.

    Attributes:
        healthy: the sidecar's latest verdict, which ``detail`` explains.
        seen: whether the authority counts this node as there; None if that was not asked.
        problems: what could not be asked, and why.
    """

    pool: str
    name: str
    role: str
    address: str
    authority: str
    expires_at: float
    ca_expires_at: float | None
    healthy: bool
    detail: str
    peers: list[PeerReport]
    seen: bool | None = None
    problems: list[str] = field(default_factory=list)
