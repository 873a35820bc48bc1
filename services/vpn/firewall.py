"""The kill switch: what may leave and enter this namespace outside the tunnel. The rules are the kernel's
(nftables), so they hold while Nebula is down, restarts or was never started.
"""

import subprocess
from collections.abc import Sequence

from services.common.errors import Broken
from services.vpn.nebula_config import DEVICE, PORT, SEED_PORTS, Mode

AUTHORITY_PORT = 7443
WATCHER = "02:ca:1c:00:23:82"
"""Ethernet address of the node's own Prometheus, as compose.yaml gives it. The engine's bridge has no other container
with it, and unlike its IP address it is known before it starts."""
_WATCHED_PORTS = (8000, 8080)
"""The endpoint and the health exporter, for their metrics."""


def ruleset(mode: Mode, gateway: str | None, egress_ports: Sequence[int]) -> str:
    """Return the rules in nft's language; loading them replaces the ones before at once.

    Out go: the tunnel, answers, whatever the sidecar itself sends (Nebula; it is the only one here with user
    id 0, besides the engine's resolver), and TCP to ``egress_ports`` for downloads. In come: the tunnel, answers,
    what Nebula will look at (a peer's first packet may come from an address that was never written to), on the seed
    enrolments, and from this machine (its packets have the gateway's address) and its Prometheus the endpoint and the
    health page.

    Args:
        mode: which kind of node.
        gateway: address of the machine on the container's network, if it has one.
        egress_ports: destination ports that every container of the node may reach outside the tunnel.
    """
    downloads = ", ".join(map(str, egress_ports))
    local = ", ".join(map(str, SEED_PORTS))
    watched = ", ".join(map(str, _WATCHED_PORTS))
    out = [f"tcp dport {{ {downloads} }} accept"] if downloads else []
    into = [f"ip saddr {gateway} tcp dport {{ {local} }} accept"] if gateway else []
    into += [f"ether saddr {WATCHER} tcp dport {{ {watched} }} accept"]
    if mode == "lighthouse":
        into += [f"tcp dport {AUTHORITY_PORT} accept"]
    neighbours = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept"
    trusted = f'"lo", "{DEVICE}"'
    return "\n".join(
        [
            "table inet calyx",
            "delete table inet calyx",
            "table inet calyx {",
            " chain output {",
            "  type filter hook output priority filter; policy drop;",
            f"  oifname {{ {trusted} }} accept",
            "  ct state established,related accept",
            "  meta skuid 0 accept",
            f"  {neighbours}",
            *(f"  {rule}" for rule in out),
            "  reject with icmpx admin-prohibited",
            " }",
            " chain input {",
            "  type filter hook input priority filter; policy drop;",
            f"  iifname {{ {trusted} }} accept",
            "  ct state established,related accept",
            f"  {neighbours}",
            f"  udp dport {PORT} accept",
            *(f"  {rule}" for rule in into),
            " }",
            " chain forward {",
            "  type filter hook forward priority filter; policy drop;",
            " }",
            "}",
            "",
        ]
    )


def apply(rules: str) -> None:
    """Load the rules into this network namespace.

    Raises:
        Broken: the kernel does not take them; nothing has changed then.
    """
    done = subprocess.run(["nft", "-f", "-"], input=rules, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"nft ended with {done.returncode}"]
        raise Broken(
            f"closing the node's network: {lines[0]}", "the vpn container needs NET_ADMIN and nf_tables"
        )
