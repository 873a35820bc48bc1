"""Joins the swarm's distributed hash table: as a peer that others reach, or as a client that only asks."""

import asyncio
import contextlib
import importlib
import ipaddress
import secrets
import socket
import threading
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from hivemind import DHT, get_dht_time
from hivemind.dht import DHTNode
from hivemind.p2p import PeerID
from hivemind.p2p.p2p_daemon_bindings.utils import ControlFailure, P2PDaemonError
from hivemind.utils.multiaddr import Multiaddr
from hivemind.utils.multiaddr.exceptions import Error as MultiaddrError
from petals.constants import PUBLIC_INITIAL_PEERS

from services.common.errors import Broken, InvalidInput, Unavailable
from services.common.settings import PUBLIC_PEERS
from services.swarm.reachability import help_others_to_know, reached_directly
from services.swarm.records import Problem

_STARTUP_SECONDS = 30


def resolve(initial_peers: Sequence[str]) -> list[str]:
    """Return multiaddrs, with those of Petals' public swarm in place of the word for them.

    Raises:
        InvalidInput: an address is malformed.
    """
    found: list[str] = []
    for peer in initial_peers:
        found += PUBLIC_INITIAL_PEERS if peer == PUBLIC_PEERS else [peer]
    for address in found:
        _require_address(address)
    return found


def _start(initial_peers: Sequence[str], *, relays: bool = False, **options: object) -> DHT:
    peers = resolve(initial_peers)
    shared = {"initial_peers": peers, "startup_timeout": _STARTUP_SECONDS, "use_auto_relay": relays}
    try:
        if not relays:
            return DHT(start=True, **shared, **options)
        direct = reached_directly(**shared, **options)
        # Nobody shall look for records of the table at a peer that cannot be called
        dht = DHT(start=True, client_mode=not direct, **shared, **options)
        if direct:
            help_others_to_know(dht)
        return dht
    except (P2PDaemonError, TimeoutError, OSError) as error:
        if not initial_peers:
            raise Broken(
                f"starting libp2p's daemon: {error}", "check the key of this peer's identity"
            ) from error
        if PUBLIC_PEERS in initial_peers:
            raise Unavailable(
                f"joining the public swarm through Petals' own peers: {error}",
                "check the network; CALYX_INITIAL_PEERS names peers of another swarm",
            ) from error
        raise Unavailable(
            f"joining the swarm through {' '.join(initial_peers)}: {error}",
            "check that the bootstrap peer runs and is reachable",
        ) from error


def _require_address(address: str) -> None:
    try:
        Multiaddr(address)["p2p"]
    except MultiaddrError as error:
        raise InvalidInput(
            f"initial peer {address}: {error}", "write it as /ip4/<address>/tcp/<port>/p2p/<peer id>"
        ) from error


def _require_free(port: int) -> None:
    """libp2p listens with SO_REUSEPORT: a second peer on the port would quietly take half of its calls."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))  # noqa: S104 - as the peer itself will
        except OSError as error:
            raise Unavailable(
                f"listening on TCP port {port}: {error.strerror}", "stop what uses it, or choose another port"
            ) from error


def start_peer(
    initial_peers: Sequence[str],
    *,
    port: int,
    identity: Path,
    announce_host: str | None = None,
    relays: bool = False,
) -> DHT:
    """Start a peer that others can reach on TCP ``port`` and whose id comes from the key in ``identity``.

    Args:
        initial_peers: multiaddrs of peers to enter through; none starts a new swarm. Here and below, see ``resolve``.
        port: TCP port to listen on, on every interface.
        identity: file of the private key, made when missing.
        announce_host: the only IP address to announce; every address of this machine when None.
        relays: ask peers of the swarm whether they reach this one, and let relays carry its traffic if they do not;
            ``client_mode`` of the result then tells.

    Raises:
        InvalidInput: an address is malformed.
        Unavailable: no initial peer answers, or the port is taken.
        Broken: the key cannot be read or made.
    """
    _require_free(port)
    if not identity.parent.is_dir():
        raise Broken(f"identity {identity}: its folder does not exist", "create the folder")
    announce = None
    if announce_host is not None:
        try:
            family = f"ip{ipaddress.ip_address(announce_host).version}"
        except ValueError as error:
            raise InvalidInput(
                f"announced host: {error}", "set CALYX_ANNOUNCE_HOST to an IP address"
            ) from error
        announce = [f"/{family}/{announce_host}/tcp/{port}"]
    return _start(
        initial_peers,
        host_maddrs=[f"/ip4/0.0.0.0/tcp/{port}"],
        announce_maddrs=announce,
        identity_path=str(identity),
        relays=relays,
    )


def start_client(initial_peers: Sequence[str], *, remembers: bool = True) -> DHT:
    """Start a peer that asks others but serves nothing; raises as ``start_peer`` does.

    Args:
        initial_peers: multiaddrs of peers to enter through.
        remembers: answers with what it was told before, as long as that is valid, where others have forgotten it. Who
            reads the whole table again and again would hold it twice, and a growing list of when all of it ends.
    """
    if not initial_peers:
        raise InvalidInput("no initial peers are given", "set CALYX_INITIAL_PEERS to a peer of the swarm")
    dht = _start(
        initial_peers,
        client_mode=True,
        num_workers=32,
        cache_locally=remembers,
        # A record that is not remembered would be passed on each time that it is read
        cache_nearest=int(remembers),
    )
    dht._outer_pipe = OneAtATime(dht._outer_pipe)
    return dht


class OneAtATime:
    """The pipe to a client's process, for many threads.

    hivemind writes to it from whichever thread asks. The kernel keeps writes apart up to 4096 bytes; a question about
    the blocks of a large model is longer.
    """

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def send(self, message: object) -> None:
        """Write a message, when those of other threads are written."""
        with self._lock:
            self._pipe.send(message)

    def close(self) -> None:
        """Write no more."""
        self._pipe.close()


class SharedClient:
    """One client for everything in this process that asks, started when it is first needed.

    hivemind makes a process of each client, by forking: one that is forked late inherits the connections of whoever
    is served just then, and keeps them open when this process closes them.

    Args:
        initial_peers: asked at each try, because a bootstrap peer may have rewritten the file that names them.
        start: starts a client.
    """

    def __init__(
        self,
        initial_peers: Callable[[], Sequence[str]],
        start: Callable[[Sequence[str]], DHT] = start_client,
    ) -> None:
        self._initial_peers = initial_peers
        self._start = start
        self._lock = threading.Lock()
        self._dht: DHT | None = None

    def get(self) -> DHT:
        """Return the client; raises as ``start_client`` does."""
        with self._lock:
            if self._dht is None:
                # What its process answers is Petals', and is there only if it was when the process was forked
                importlib.import_module("petals")
                self._dht = self._start(self._initial_peers())
            return self._dht


def rejoin(dht: DHT, timeout: float = 5.0) -> dict[str, Problem]:
    """Greet the initial peers again, so that both sides know each other also after one of them restarted.

    hivemind greets them only when it starts. A bootstrap peer that restarts forgets everybody and is forgotten:
    whoever enters through it later would find an empty swarm beside the one that is there.

    Returns:
        Why each of them, by its id, is not reached within ``timeout`` seconds.
    """
    future = dht.run_coroutine(partial(_greet_initial_peers, timeout=timeout), return_future=True)
    with contextlib.suppress(TimeoutError):
        greeted: dict[str, Problem] = future.result(timeout + 1)
        return greeted
    return {}


async def _greet_initial_peers(dht: DHT, node: DHTNode, timeout: float) -> dict[str, Problem]:
    by_peer: dict[PeerID, list[Multiaddr]] = {}
    for address in map(Multiaddr, map(str, dht.initial_peers or ())):
        peer = PeerID.from_base58(address.value_for_protocol("p2p"))
        by_peer.setdefault(peer, []).append(address.decapsulate(f"/p2p/{peer}"))

    async def greet(peer: PeerID, known: list[Multiaddr]) -> Problem:
        try:
            async with asyncio.timeout(timeout):
                await node.p2p._client.connect(peer, known)
                if await node.protocol.call_ping(peer) is None:
                    return "it does not answer"
        except (ControlFailure, P2PDaemonError, OSError) as error:
            return str(error) or f"it does not answer within {timeout:g} s"
        return None

    others = {peer: known for peer, known in by_peer.items() if peer != dht.peer_id}
    problems = await asyncio.gather(*(greet(peer, known) for peer, known in others.items()))
    return {peer.to_base58(): problem for peer, problem in zip(others, problems, strict=True)}


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
