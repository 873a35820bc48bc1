"""What this node knows of its place in the pool and of its ways to the others: ``python -m services.vpn.report``.

It prints JSON. With ``--probe`` it also asks the authority who is in the pool, and each of them for an echo.
"""

import argparse
import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from typing import TypeVar

from services.common.errors import CalyxError, Unavailable
from services.common.heartbeat import Heartbeat
from services.common.node_report import NodeReport, PeerReport, Way
from services.common.settings import VpnSettings
from services.vpn.authority_client import AuthorityClient, Peer
from services.vpn.console import Tunnel, tunnels
from services.vpn.membership import Membership, StateFolder
from services.vpn.ping import ping

_AT_ONCE = 32

T = TypeVar("T")


@dataclass(frozen=True)
class Sources:
    """Whom the report asks, with what raises ``CalyxError`` when nobody answers.

    Attributes:
        verdict: the sidecar's latest one.
        tunnels: those that Nebula has.
        peers: everybody in the pool; None if the authority shall not be asked.
        echo: see ``services.vpn.ping``.
    """

    verdict: Callable[[], tuple[bool, str]]
    tunnels: Callable[[], list[Tunnel]]
    peers: Callable[[], list[Peer]] | None = None
    echo: Callable[[IPv4Address], float | None] = ping


def make_report(member: Membership, sources: Sources) -> NodeReport:
    """Return what is known now; whoever does not answer is one of the report's problems."""
    problems: list[str] = []
    own = member.address.ip
    pool = _answer(sources.peers, problems) if sources.peers else None
    others = {peer.address: peer for peer in pool or [] if peer.address != own}
    echoes: dict[IPv4Address, float | None] = {}
    if sources.peers:
        asked = others if pool is not None else [one.address for one in _answer(sources.tunnels, []) or []]
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            echoes = dict(zip(asked, threads.map(sources.echo, asked), strict=True))
    # Only now, because an echo makes a tunnel where there was none
    known = {tunnel.address: tunnel for tunnel in _answer(sources.tunnels, problems) or []}
    names = {address: tunnel.name or str(address) for address, tunnel in known.items()}
    names |= {address: peer.name for address, peer in others.items()}
    peers = []
    for address in sorted(names):
        way, through = _way(known.get(address), names)
        state = others[address].state if address in others else None
        peers.append(PeerReport(names[address], str(address), way, through, state, echoes.get(address)))
    healthy, detail = sources.verdict()
    return NodeReport(
        pool=member.pool,
        name=member.name,
        role=member.role,
        address=str(own),
        authority=member.authority,
        expires_at=member.expires_at,
        ca_expires_at=member.ca_expires_at,
        healthy=healthy,
        detail=detail,
        peers=peers,
        seen=None if pool is None else any(peer.address == own and peer.state != "gone" for peer in pool),
        problems=problems,
    )


def _way(tunnel: Tunnel | None, names: dict[IPv4Address, str]) -> tuple[Way, str]:
    if tunnel is not None and tunnel.endpoint:
        return "direct", tunnel.endpoint
    if tunnel is not None and tunnel.relays:
        return "relayed", ", ".join(names.get(relay, str(relay)) for relay in tunnel.relays)
    return "none", ""


def _answer(ask: Callable[[], list[T]], problems: list[str]) -> list[T] | None:
    try:
        return ask()
    except CalyxError as error:
        problems.append(str(error))
        return None


def main() -> int:
    """Print the report and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m services.vpn.report", description=__doc__)
    parser.add_argument("--probe", action="store_true", help="ask every node of the pool for an echo")
    probe = parser.parse_args().probe
    try:
        folder = StateFolder(VpnSettings.load().vpn_dir)
        member = folder.load()
        if member is None:
            raise Unavailable("this node is in no pool yet", "see the log of vpn")
        authority = AuthorityClient.of(member)
        report = make_report(
            member,
            Sources(
                verdict=Heartbeat().read,
                tunnels=lambda: tunnels(folder),
                peers=(lambda: authority.peers(member)) if probe else None,
            ),
        )
    except CalyxError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    print(json.dumps(asdict(report)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
