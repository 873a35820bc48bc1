"""The rules of nodes: what they are called, whether they are there, which addresses they get. Pure."""

from collections.abc import Set
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Literal

from services.authority.tokens import Role

Activity = Literal["running", "paused"]
Presence = Literal["running", "paused", "gone", "left", "revoked"]
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
RENEW_AFTER = 2 / 3
"""The part of a certificate's life after which it is renewed: a third is left for an authority that is down."""


@dataclass(frozen=True)
class Node:
    """One machine that enrolled, as it is stored; times are seconds since the epoch.

    ``seen_at`` is empty until the first heartbeat, ``address`` once another node may have it; ``held_address`` is the
    one that it had last.
    """

    id: str
    name: str
    role: Role
    token_id: str
    public_key: str
    credential_hash: str
    address: str | None
    activity: Activity
    joined_at: int
    lease_until: int
    seen_at: int | None = None
    left_at: int | None = None
    revoked_at: int | None = None
    reason: str | None = None
    blocks: str | None = None
    model: str | None = None
    held_address: str | None = None
    endpoint: bool = False

    def presence(self, now: int) -> Presence:
        """Return how the node is now; that it is gone is seen by the clock and written down nowhere."""
        if self.revoked_at is not None:
            return "revoked"
        if self.left_at is not None:
            return "left"
        return "gone" if self.lease_until <= now else self.activity


@dataclass(frozen=True)
class Certificate:
    """One certificate that was signed for a node, as it is stored; times are seconds since the epoch."""

    fingerprint: str
    node_id: str
    issued_at: int
    not_after: int
    revoked_at: int | None = None

    @property
    def renew_at(self) -> int:
        """When to ask for the next one."""
        return self.issued_at + int((self.not_after - self.issued_at) * RENEW_AFTER)


def free_address(network: IPv4Network, held: Set[str]) -> str | None:
    """Return the lowest address of ``network`` that nobody holds."""
    return next((text for address in network.hosts() if (text := str(address)) not in held), None)
