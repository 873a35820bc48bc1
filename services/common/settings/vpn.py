"""How this node's containers reach the other nodes of the pool."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from services.common.settings.base import Section


class VpnSettings(Section):
    """Read by the sidecar whose network namespace the other containers of the node share."""

    vpn_mode: Literal["direct", "lighthouse", "member"] = "direct"
    """``direct``: no tunnel, for a pool on one machine or on a network that is private already;
    ``lighthouse``: the seed of a mesh; ``member``: any other node of it."""

    vpn_token_file: Path = Path("/seed/token")
    """File with the token that lets this node into its pool, as ``./scripts/calyx token create`` prints it; read
    once, while the node is in none."""

    node_name: str = Field(default="node", pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
    """What this node is called in its pool: small letters, digits and hyphens."""

    own_endpoint: bool = False
    """1 where this member of a pool runs an endpoint: its machine asks that one first, and others of the pool turn to
    it while the seed's is not ready. ./scripts/calyx join --endpoint sets it."""

    egress_ports: str = Field(default="443", pattern=r"^(none|\d{1,5}(,\d{1,5})*)$")
    """TCP ports that this node's containers may reach outside the tunnel, for downloads of weights, with commas
    between them; ``none`` for none."""

    vpn_dir: Path = Path("/vpn")
    """Folder of the node's key, certificates and place in the pool."""

    vpn_announce_file: Path = Path("/node/announce_host")
    """File that tells the node's other containers the address which peers reach this node at."""

    vpn_peers_file: Path = Path("/node/initial_peers")
    """File that tells a member's other containers where to enter the swarm."""

    vpn_certificates_file: Path = Path("/node/certificates.json")
    """File that tells the health exporter when the node's certificates end."""

    @property
    def open_ports(self) -> list[int]:
        """Return ``egress_ports`` as numbers."""
        return [] if self.egress_ports == "none" else [int(port) for port in self.egress_ports.split(",")]
