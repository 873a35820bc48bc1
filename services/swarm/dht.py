"""Joins the swarm's distributed hash table: as a full peer that others can reach, or as a client that only asks."""

import ipaddress
import secrets
from collections.abc import Sequence
from pathlib import Path

from hivemind import DHT, get_dht_time
from hivemind.p2p.p2p_daemon_bindings.utils import P2PDaemonError

from services.common.errors import InvalidInput, Unavailable

_STARTUP_SECONDS = 30


def _start(initial_peers: Sequence[str], **options: object) -> DHT:
    try:
        return DHT(
            initial_peers=list(initial_peers),
            start=True,
            startup_timeout=_STARTUP_SECONDS,
            use_auto_relay=False,
            **options,
        )
    except ValueError as error:
        raise InvalidInput(
            f"initial peers {' '.join(initial_peers)}: {error}",
            "write each as /ip4/<address>/tcp/<port>/p2p/<peer id>",
        ) from error
    except (P2PDaemonError, TimeoutError, OSError) as error:
        peers = " ".join(initial_peers) or "none"
        raise Unavailable(
            f"joining the swarm through {peers}: {error}", "check that the bootstrap peer runs and is reachable"
        ) from error


def start_peer(
    initial_peers: Sequence[str], *, port: int, identity: Path, announce_host: str | None = None
) -> DHT:
    """Start a peer that others can reach on TCP ``port`` and whose id comes from the key in ``identity``.

    Args:
        initial_peers: multiaddrs of peers to enter through; none starts a new swarm.
        port: TCP port to listen on, on every interface.
        identity: file of the private key, made when missing.
        announce_host: the only IP address to announce; every address of this machine when None.

    Raises:
        InvalidInput: an address is malformed.
        Unavailable: no initial peer answers, or the port is taken.
    """
    announce = None
    if announce_host is not None:
        try:
            family = f"ip{ipaddress.ip_address(announce_host).version}"
        except ValueError as error:
            raise InvalidInput(f"announced host: {error}", "set CALYX_ANNOUNCE_HOST to an IP address") from error
        announce = [f"/{family}/{announce_host}/tcp/{port}"]
    return _start(
        initial_peers,
        host_maddrs=[f"/ip4/0.0.0.0/tcp/{port}"],
        announce_maddrs=announce,
        identity_path=str(identity),
    )


def start_client(initial_peers: Sequence[str]) -> DHT:
    """Start a peer that asks others but serves nothing; raises as ``start_peer`` does."""
    if not initial_peers:
        raise InvalidInput("no initial peers are given", "set CALYX_INITIAL_PEERS to a peer of the swarm")
    return _start(initial_peers, client_mode=True, num_workers=32)


def addresses(dht: DHT) -> list[str]:
    """Return the multiaddrs that other peers can enter the swarm through, the peer's id included."""
    return sorted(str(address) for address in dht.get_visible_maddrs(latest=True))


def check(dht: DHT, timeout: float = 10.0) -> None:
    """Write a record to the swarm's table and read it back.

    Raises:
        Unavailable: the table does not answer within ``timeout`` seconds, or answers something else.
    """
    key, value = f"calyx.check.{dht.peer_id}", secrets.token_hex(8)
    try:
        stored = dht.store(key, value, expiration_time=get_dht_time() + 60, return_future=True)
        stored.result(timeout)
        found = dht.get(key, latest=True, return_future=True).result(timeout)
    except (TimeoutError, OSError, P2PDaemonError) as error:
        raise Unavailable(f"checking the swarm's table: {error or 'no answer'}") from error
    if found is None or found.value != value:
        raise Unavailable("checking the swarm's table: a record that was written could not be read back")
