"""Whether this node of a pool and the others reach each other, in both directions: each was asked for an echo."""

from scripts.helper.checks.check import Check
from services.common.node_report import NodeReport, PeerReport

_UDP = "let UDP out of both machines, and the seed's Nebula port (CALYX_NEBULA_PORT) into the seed"


def check_mesh(node: NodeReport) -> list[Check]:
    """Judge the authority, what the pool sees of this node, and the way to each other node."""
    checks = [_authority(node)]
    if node.seen is not None:
        checks.append(_presence(node))
    return checks + [_peer(peer) for peer in node.peers]


def _authority(node: NodeReport) -> Check:
    if node.problems:
        return Check("authority", "fail", node.problems[0], "see that the seed runs: its `doctor` tells more")
    return Check("authority", "ok", f"{node.authority} answers")


def _presence(node: NodeReport) -> Check:
    if node.seen:
        return Check("this node", "ok", f"the pool sees {node.name} at {node.address}")
    return Check(
        "this node",
        "warn",
        f"the pool has had no sign of life of {node.name} for a while",
        "./scripts/calyx logs vpn shows why",
    )


def _peer(peer: PeerReport) -> Check:
    name = f"way to {peer.name}"
    if peer.milliseconds is not None:
        by = f"by {peer.through}" if peer.through else ""
        return Check(
            name, "ok", f"{peer.way} {by}: an echo took {peer.milliseconds:.1f} ms".replace("  ", " ")
        )
    if peer.state == "gone":
        return Check(name, "warn", "that machine is gone: the pool hears nothing of it", "see that it is on")
    if peer.way == "none":
        return Check(name, "fail", "no tunnel: no direct way was found, and the seed could not relay", _UDP)
    return Check(name, "fail", f"no echo, though there is a tunnel ({peer.way} by {peer.through})", _UDP)
