"""Modes ``lighthouse`` and ``member``: Nebula carries the node's traffic, the authority says who belongs to it.

The authority is asked often, because that is how a revocation reaches everybody, and is not needed otherwise:
without it established members go on until their certificates expire.
"""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from services.common.errors import CalyxError, Unavailable
from services.common.files import replace_file
from services.vpn import nebula_config, proxy_config
from services.vpn.authority_client import AuthorityClient, PutOut
from services.vpn.console import ensure_key
from services.vpn.membership import PUBLIC_KEY, Membership, StateFolder
from services.vpn.nebula_config import Mode
from services.vpn.ping import ping
from services.vpn.processes import Program

logger = logging.getLogger(__name__)

NEBULA_CONFIG, PROXY_CONFIG = "nebula.json", "haproxy.cfg"
HEARTBEAT_PERIOD = 10.0
ECHO_LIFETIME = 30.0
"""Seconds after the lighthouse's last echo at which the tunnel counts as down."""


@dataclass(frozen=True)
class PoolFiles:
    """What the node's other containers read.

    Attributes:
        announce_host: the mesh address that peers shall use for this node.
        initial_peers: where to enter the swarm; None on the seed, whose bootstrap peer writes it.
        certificates: when they end.
    """

    announce_host: Path
    initial_peers: Path | None
    certificates: Path


@dataclass(frozen=True)
class Outside:
    """Everything that the tunnel works with and tests replace.

    Attributes:
        connect: gives the authority of a membership.
        clock: seconds, never going back.
        echo: see ``services.vpn.ping``.
        program: keeps a command running.
        console_key: see ``services.vpn.console.ensure_key``.
    """

    connect: Callable[[Membership], AuthorityClient] = AuthorityClient.of
    clock: Callable[[], float] = time.monotonic
    echo: Callable[[IPv4Address], float | None] = ping
    program: Callable[[list[str]], Program] = Program
    console_key: Callable[[StateFolder], str] = ensure_key


class MeshTunnel:
    """Nebula with its configuration kept true, its certificate fresh and its neighbours known.

    Args:
        mode: which kind of node.
        folder: key, certificates, membership, configuration.
        files: what the other containers are told.
        enrol: takes a place in the pool if there is none yet.
        state: what the node does now, ``running`` or ``paused``.
        own_endpoint: whether this member runs an endpoint.
        outside: the world.
    """

    def __init__(
        self,
        mode: Mode,
        folder: StateFolder,
        files: PoolFiles,
        *,
        enrol: Callable[[], Membership],
        state: Callable[[], str],
        own_endpoint: bool = False,
        outside: Outside = Outside(),
    ) -> None:
        self._mode, self._folder, self._files = mode, folder, files
        self._enrol, self._state, self._own_endpoint, self._outside = enrol, state, own_endpoint, outside
        self._nebula = outside.program(["nebula", "-config", str(folder.path / NEBULA_CONFIG)])
        self._proxy = outside.program(["haproxy", "-W", "-q", "-f", str(folder.path / PROXY_CONFIG)])
        self._place: tuple[Membership, AuthorityClient] | None = None
        self._refusal: PutOut | None = None
        self._next_heartbeat = 0.0
        self._told: str | None = None
        self._last_echo: float | None = None

    def check(self) -> str:
        """Do what is due; return a line on the tunnel. See :meth:`services.vpn.tunnel.Tunnel.check`.

        Raises:
            Unavailable: no pool yet, or the lighthouse does not answer through the tunnel.
            PutOut: the pool has put this node out.
        """
        member, authority = self._place or self._enter()
        now, state = self._outside.clock(), self._state()
        if now >= self._next_heartbeat or state != self._told:
            self._next_heartbeat, self._told = now + HEARTBEAT_PERIOD, state
            member = self._ask(authority, member, state)
        if self._refusal is not None:
            raise self._refusal
        self._nebula.ensure()
        if self._mode == "member":
            self._proxy.ensure()
        return self._judge(member)

    def close(self) -> None:
        """End the programs; Nebula says goodbye to its neighbours."""
        self._proxy.end()
        self._nebula.end()

    def _enter(self) -> tuple[Membership, AuthorityClient]:
        member = self._folder.load() or self._enrol()
        self._apply(member)
        logger.info("member of the pool", extra={"pool": member.pool, "address": str(member.address)})
        self._place = member, self._outside.connect(member)
        return self._place

    def _ask(self, authority: AuthorityClient, member: Membership, state: str) -> Membership:
        try:
            standing = authority.heartbeat(member, state, endpoint=self._own_endpoint)
            news = member.with_standing(standing)
            if standing.renew:
                fresh = authority.renew(member, self._folder.read(PUBLIC_KEY))
                news = news.model_copy(update=dict(fresh))
        except PutOut as refusal:
            self._refusal = refusal
            self.close()
            return member
        # Whoever else answers in its place must not be able to end a tunnel
        except CalyxError as error:
            logger.warning("%s", error)
            return member
        self._refusal = None
        if news != member:
            self._apply(news)
            self._nebula.reload()
            if self._proxied(news) != self._proxied(member):
                self._proxy.reload()
            self._place = news, authority
        return news

    def _apply(self, member: Membership) -> None:
        self._folder.save(member)
        config = nebula_config.render(
            member,
            self._mode,
            self._folder.path,
            self._outside.console_key(self._folder),
            own_endpoint=self._own_endpoint,
        )
        self._folder.write(NEBULA_CONFIG, config)
        if self._mode == "member":
            self._folder.write(PROXY_CONFIG, self._proxied(member))
        replace_file(self._files.announce_host, f"{member.address.ip}\n", mode=0o644)
        ends = {"node": member.expires_at, "authority": member.ca_expires_at}
        replace_file(self._files.certificates, json.dumps(ends), mode=0o644)
        if self._files.initial_peers is not None:
            replace_file(
                self._files.initial_peers, "".join(f"{peer}\n" for peer in member.initial_peers), mode=0o644
            )

    def _proxied(self, member: Membership) -> str:
        return proxy_config.render(member, own_endpoint=self._own_endpoint)

    def _judge(self, member: Membership) -> str:
        about = f"{self._mode} {member.address.ip} of pool {member.pool}"
        if self._mode == "lighthouse":
            return about
        now = self._outside.clock()
        for lighthouse in member.lighthouses:
            if (milliseconds := self._outside.echo(lighthouse.address)) is not None:
                self._last_echo = now
                return f"{about}: lighthouse {lighthouse.address} answers in {milliseconds:.1f} ms"
        if self._last_echo is not None and now - self._last_echo < ECHO_LIFETIME:
            return f"{about}: the lighthouse answered {now - self._last_echo:.0f} s ago"
        raise Unavailable(
            f"{about}: no lighthouse has answered through the tunnel for {ECHO_LIFETIME:.0f} s",
            "check that the seed runs and that its UDP port can be reached from here",
        )
