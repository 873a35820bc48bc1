"""The peer that others enter the swarm through."""

from pathlib import Path

from pydantic import Field

from services.common.settings.base import Section


class BootstrapSettings(Section):
    """Read by the bootstrap peer alone."""

    bootstrap_port: int = Field(default=31330, ge=1, le=65535)
    """TCP port that the bootstrap peer listens on inside the node's network."""

    bootstrap_identity: Path = Path("/identity/bootstrap.key")
    """Private key of the bootstrap peer, made when missing; losing it changes its known address."""

    bootstrap_addresses: Path = Path("/pool/initial_peers")
    """File that the bootstrap peer writes its multiaddrs to, for the other containers of the node."""
