"""Renders Nebula's configuration; pure. What each key means: https://nebula.defined.net/docs/config/"""

import json
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Literal

from services.vpn.membership import CA, CERTIFICATE, CONSOLE_KEY, KEY, Membership

DEVICE = "calyx0"
PORT = 4242
BOOTSTRAP_PORT, SERVER_PORT = 31330, 31331
"""Those that the rooms listen on inside the node's network."""
CONSOLE_PORT, CONSOLE_USER = 4243, "calyx"
"""Nebula's own console, on the loopback of the node's network."""
SEED_PORTS = (8000, 8001, 8080)
"""The endpoint, its gRPC and the health page, which every member may use."""
MEMBER_ENDPOINT_PORTS = (18000, 18001)
"""Where a member's endpoint and its gRPC listen, for all members: 8000 and 8001 are its proxy's, for its machine."""
_MTU = 1300  # leaves room for the outer headers on every path that carries 1500 bytes, and for relays

Mode = Literal["lighthouse", "member"]


def render(
    membership: Membership, mode: Mode, folder: Path, console_key: str, *, own_endpoint: bool = False
) -> str:
    """Return the configuration as JSON, which YAML includes.

    Args:
        membership: this node's place in the pool.
        mode: ``lighthouse`` on the seed.
        folder: where key and certificates are.
        console_key: public half of the key that Nebula's console shows and asks for, in OpenSSH's form.
        own_endpoint: whether this member runs an endpoint, which the others may use.
    """
    lighthouse = mode == "lighthouse"
    others = [] if lighthouse else membership.lighthouses
    config = {
        "pki": {
            "ca": str(folder / CA),
            "cert": str(folder / CERTIFICATE),
            "key": str(folder / KEY),
            "blocklist": sorted(membership.blocklist),
            "disconnect_invalid": True,
        },
        "static_host_map": {str(one.address): one.endpoints for one in others},
        "static_map": {"cadence": "30s", "network": "ip"},
        "lighthouse": {
            "am_lighthouse": lighthouse,
            "interval": 10,
            "hosts": [str(one.address) for one in others],
        },
        "listen": {"host": str(IPv4Address(0)), "port": PORT},
        "punchy": {"punch": True, "respond": True, "delay": "1s", "respond_delay": "5s"},
        "relay": {
            "am_relay": lighthouse,
            "use_relays": True,
            "relays": [str(one.address) for one in others],
        },
        "tun": {"dev": DEVICE, "mtu": _MTU},
        "sshd": {
            "enabled": True,
            "listen": f"127.0.0.1:{CONSOLE_PORT}",
            "host_key": str(folder / CONSOLE_KEY),
            "authorized_users": [{"user": CONSOLE_USER, "keys": [console_key]}],
        },
        "logging": {"level": "info", "format": "json"},
        "firewall": {
            "outbound_action": "drop",
            "inbound_action": "drop",
            "outbound": [{"port": "any", "proto": "any", "host": "any"}],
            "inbound": _inbound(lighthouse, own_endpoint),
        },
    }
    return json.dumps(config, indent=1)


def _inbound(lighthouse: bool, own_endpoint: bool) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = [{"port": "any", "proto": "icmp", "host": "any"}]
    petals = f"{BOOTSTRAP_PORT}-{SERVER_PORT}"
    rules += [{"port": petals, "proto": "tcp", "group": group} for group in ("seed", "worker")]
    opened = SEED_PORTS if lighthouse else MEMBER_ENDPOINT_PORTS if own_endpoint else ()
    rules += [{"port": port, "proto": "tcp", "group": "member"} for port in opened]
    return rules
