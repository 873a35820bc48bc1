"""Finds out for sure who has a block: asks the peer for it, and looks where in the network that peer is.

A peer's id cannot be borrowed, for libp2p's handshake proves it. Its address can: whoever passes the bytes of a
connection on to somebody else is, seen from here, where the other one should be. So a peer has to say its address
over that connection, which nobody in between can change, and counts only if it is connected from there.
"""

import asyncio
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from typing import Any

from hivemind import DHT, MSGPackSerializer
from hivemind.dht import DHTNode
from hivemind.p2p import P2P, PeerID
from hivemind.proto import runtime_pb2
from hivemind.utils.multiaddr import Multiaddr

from services.swarm.records import Claim

ANNOUNCED_HOST = "announced_host"
"""In what servers of Calyx answer to ``rpc_info``: the address that they are reached at."""
_RPC_INFO = "TransformerConnectionHandler.rpc_info"
_UID_DELIMITER = "."


async def witness(_: DHT, node: DHTNode, claims: Sequence[Claim], limit: float) -> dict[Claim, str]:
    """Return the address of each peer that has the block it is asked for, and is where it says it is."""
    said = await asyncio.gather(*(_ask(node.p2p, claim, limit) for claim in claims))
    found: dict[PeerID, set[str]] = {}
    for peer in await node.p2p.list_peers():
        found.setdefault(peer.peer_id, set()).update(direct_hosts(peer.addrs))
    return {
        claim: host
        for claim, host in zip(claims, said, strict=True)
        if host is not None and host in found.get(PeerID.from_base58(claim.peer_id), ())
    }


async def _ask(p2p: P2P, claim: Claim, limit: float) -> str | None:
    uid = f"{claim.dht_prefix}{_UID_DELIMITER}{claim.block}"
    try:
        async with asyncio.timeout(limit):
            answer = await p2p.call_protobuf_handler(
                PeerID.from_base58(claim.peer_id),
                _RPC_INFO,
                runtime_pb2.ExpertUID(uid=uid),
                runtime_pb2.ExpertInfo,
            )
        return stated_host(MSGPackSerializer.loads(answer.serialized_info))
    except Exception:
        # A server without the block answers by an error, and a stranger with whatever it likes
        return None


def stated_host(info: Any) -> str | None:
    """Return the address in what a server says of itself, in its usual form."""
    said = info.get(ANNOUNCED_HOST) if isinstance(info, dict) else None
    return _usual(said) if isinstance(said, str) else None


def direct_hosts(addresses: Iterable[Multiaddr]) -> set[str]:
    """Return the addresses of connections that no relay carries, in their usual form."""
    hosts = set()
    for address in addresses:
        if "/p2p-circuit" in str(address):
            continue
        _, family, host, *_ = [*str(address).split("/"), "", ""]
        if family in ("ip4", "ip6") and (usual := _usual(host)) is not None:
            hosts.add(usual)
    return hosts


def _usual(host: str) -> str | None:
    try:
        return str(ip_address(host))
    except ValueError:
        return None
