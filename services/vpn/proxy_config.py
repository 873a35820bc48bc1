"""Renders HAProxy's configuration: this machine's ports lead to an endpoint of the pool and the seed's health page.

Of several endpoints the first that is ready gets all new connections: this node's own, the seed's, other members'.
Where none is ready, the first that takes a connection gets it, for it says best what is missing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from services.vpn.membership import Membership
from services.vpn.nebula_config import MEMBER_ENDPOINT_PORTS, SEED_PORTS


@dataclass(frozen=True)
class Endpoint:
    """One endpoint, as this node reaches it.

    Attributes:
        name: what the proxy's log calls it.
        host: its address.
        http: its port for HTTP and WebSockets.
        grpc: its port for gRPC.
    """

    name: str
    host: str
    http: int
    grpc: int


def render(membership: Membership, *, own_endpoint: bool) -> str:
    """Return a configuration that passes bytes on and understands none of them.

    Args:
        membership: this node's place in the pool, and whose endpoints it may turn to.
        own_endpoint: whether this node runs one.
    """
    seed, own = membership.lighthouses[0].address, membership.address.ip
    endpoints = [Endpoint("own", "127.0.0.1", *MEMBER_ENDPOINT_PORTS)] if own_endpoint else []
    endpoints.append(Endpoint("seed", str(seed), *SEED_PORTS[:2]))
    for address in membership.endpoint_nodes:
        if address not in (seed, own):
            endpoints.append(Endpoint(f"member-{address}", str(address), *MEMBER_ENDPOINT_PORTS))
    http, grpc, health = (f":{port}" for port in SEED_PORTS)
    page = f"listen health\n  bind {health}\n  server seed {seed}:{SEED_PORTS[2]}\n"
    return "\n".join([configuration(endpoints, http, grpc), page])


def configuration(endpoints: Sequence[Endpoint], http: str, grpc: str) -> str:
    """Return the part of the configuration that chooses among endpoints.

    Args:
        endpoints: the most wanted first.
        http: the address to listen on for HTTP and WebSockets, as ``host:port``.
        grpc: the one for gRPC.
    """
    return "\n".join(
        [
            # One thread carries more than an endpoint says; streams keep the process before a reload alive, and
            # a pool whose endpoints come and go shall not fill this machine with such
            "global\n  maxconn 1000\n  nbthread 1\n  mworker-max-reloads 10\n"
            "  log stderr format raw local0 notice\n",
            # An answer may take long, and a WebSocket may be silent for as long as the endpoint allows. A machine
            # that vanished says nothing either, and is told from it by the kernel
            "defaults\n  mode tcp\n  log global\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n"
            "  option srvtcpka\n  srvtcpka-idle 30s\n  srvtcpka-intvl 10s\n  srvtcpka-cnt 3\n"
            # What one endpoint refuses another gets at once; only before the first byte, so nothing is sent twice
            "  balance first\n  retries 3\n  option redispatch 1\n",
            *(_only(endpoints[0], http, grpc) if len(endpoints) == 1 else _choice(endpoints, http, grpc)),
        ]
    )


def _only(endpoint: Endpoint, http: str, grpc: str) -> list[str]:
    """Nobody to turn to, so nobody is checked: a thousand members would ask the seed all the time."""
    return [
        f"listen http\n  bind {http}\n  server {endpoint.name} {endpoint.host}:{endpoint.http}\n",
        f"listen grpc\n  bind {grpc}\n  server {endpoint.name} {endpoint.host}:{endpoint.grpc}\n",
    ]


def _choice(endpoints: Sequence[Endpoint], http: str, grpc: str) -> list[str]:
    checked = "check inter 5s fastinter 1s downinter 2s fall 2 rise 1 observe layer4 error-limit 1 on-error mark-down"
    http_servers = [f"  server {one.name} {one.host}:{one.http}" for one in endpoints]
    grpc_servers = [f"  server {one.name} {one.host}:{one.grpc}" for one in endpoints]
    tracking = [f" track http-ready/{one.name}" for one in endpoints]
    return [
        _frontend("http", http),
        # /readyz takes up to 3.5 s where the swarm is slow
        _backend(
            "http-ready",
            "  option httpchk GET /readyz",
            "  timeout check 4s",
            *(f"{server} {checked}" for server in http_servers),
        ),
        _backend("http-any", *http_servers),
        _frontend("grpc", grpc),
        _backend(
            "grpc-ready", *(server + track for server, track in zip(grpc_servers, tracking, strict=True))
        ),
        _backend("grpc-any", *grpc_servers),
    ]


def _frontend(name: str, address: str) -> str:
    return (
        f"frontend {name}\n  bind {address}\n"
        f"  use_backend {name}-ready if {{ nbsrv({name}-ready) gt 0 }}\n  default_backend {name}-any\n"
    )


def _backend(name: str, *lines: str) -> str:
    return "\n".join([f"backend {name}", *lines, ""])
