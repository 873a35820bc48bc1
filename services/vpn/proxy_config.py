"""Renders HAProxy's configuration: this machine's ports 8000, 8001 and 8080 lead to the seed's by the tunnel."""

from services.vpn.membership import Membership
from services.vpn.nebula_config import SEED_PORTS


def render(membership: Membership) -> str:
    """Return a configuration that passes bytes on and understands none of them."""
    seed = membership.lighthouses[0].address
    listeners = [f"listen to-{port}\n  bind :{port}\n  server seed {seed}:{port}\n" for port in SEED_PORTS]
    return "\n".join(
        [
            "global\n  maxconn 1000\n",
            # An answer may take long, and a WebSocket may be silent for as long as the endpoint allows
            "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n",
            *listeners,
        ]
    )
