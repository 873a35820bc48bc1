"""The authority's container by itself, with the database that it is given, and how tests speak to both."""

import http.client
import json
import os
import secrets
import ssl
from collections import deque
from dataclasses import dataclass
from typing import Any

from services.common.token import JoinToken
from services.vpn.authority_client import AuthorityClient
from services.vpn.membership import Membership
from tests.integration.stack.pool import PROJECT_LABEL, SERVICE_LABEL, Pool, eventually, free_port
from tests.unit.authority.authority_fakes import public_key

DATABASE_IMAGE = "calyx-authority-test-database"
_PREFIX = f"calyx-authority-test-{os.getpid()}"
_KEPT_OPEN = 700
_AS_COMPOSE_DOES: dict[str, Any] = {
    "user": "10001:10001",
    "init": True,
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "mem_limit": "512m",
    "pids_limit": 128,
}


class Engine:
    """The containers of these tests; they carry a project's label, so that they are removed as a stack is.

    Args:
        pool: a project without any other container.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._client = pool.client
        self.network = self._client.networks.create(_PREFIX, labels={PROJECT_LABEL: pool.project})

    def start(self, service: str, image: str, **options: Any) -> Any:
        """Return a new container in the tests' network, which others find it in by its name."""
        name = f"{_PREFIX}-{service}"
        labels = {PROJECT_LABEL: self._pool.project, SERVICE_LABEL: service}
        return self._client.containers.run(
            image, detach=True, name=name, network=self.network.name, labels=labels, **options
        )


class Database:
    """A PostgreSQL server."""

    def __init__(self, engine: Engine) -> None:
        self._network = engine.network
        self.container = engine.start("database", DATABASE_IMAGE)
        eventually(self._answers, 60)

    def new_url(self) -> str:
        """Make an empty database; return where it is."""
        name = f"pool_{secrets.token_hex(4)}"
        code, output = self.container.exec_run(["createdb", "--owner=calyx", name])
        assert code == 0, output
        return f"postgresql+psycopg://calyx:calyx@{self.container.name}/{name}"

    def stop(self) -> None:
        """End the server, as for an update of its machine."""
        self.container.stop()

    def start(self) -> None:
        """Start it again."""
        self.container.start()

    def cut_off(self) -> None:
        """Take it off the network: nobody hears a word from it any more, not even a refusal."""
        self._network.disconnect(self.container)

    def reconnect(self) -> None:
        """Put it back."""
        self._network.connect(self.container)

    def _answers(self) -> None:
        assert self.container.exec_run(["pg_isready", "--quiet"]).exit_code == 0


@dataclass
class Authority:
    """A serving authority that nodes reach at a port of this machine's loopback."""

    container: Any

    @classmethod
    def start(cls, engine: Engine, database_url: str, size: str = "64m", **settings: object) -> "Authority":
        """Start one, and wait until nodes can enrol.

        Args:
            engine: where.
            database_url: empty for SQLite.
            size: of the disk that its keys and its SQLite file are on.
            settings: variables besides those that this needs.
        """
        port = free_port()
        owner = "mode=0700,uid=10001,gid=10001"
        container = engine.start(
            f"authority-{secrets.token_hex(3)}",
            "calyx/authority",
            ports={"7443/tcp": ("127.0.0.1", port)},
            tmpfs={
                "/tmp": "size=16m,mode=1777",
                "/run/calyx": f"size=1m,{owner}",
                "/seed": f"size=1m,{owner}",
                "/authority": f"size={size},{owner}",
            },
            environment={
                "CALYX_PUBLIC_ADDRESS": "127.0.0.1",
                "CALYX_AUTHORITY_PORT": str(port),
                "CALYX_DATABASE_URL": database_url,
                **{name: str(value) for name, value in settings.items()},
            },
            **_AS_COMPOSE_DOES,
        )
        started = cls(container)
        eventually(started.is_healthy, 60)
        return started

    def is_healthy(self) -> None:
        """Fail unless the image's own probe says that nodes can enrol."""
        code, output = self.container.exec_run(["python3", "-m", "services.authority.probe"])
        assert code == 0, (output, self.container.logs(tail=20))

    def ask(self, *words: str) -> Any:
        """Return what a command of the pool's owner prints."""
        code, output = self.container.exec_run(["python3", "-m", "services.authority", *words])
        assert code == 0, output
        return json.loads(output)

    def python(self, script: str) -> Any:
        """Run a program with the authority's modules; return the JSON that it prints."""
        code, output = self.container.exec_run(["python3", "-c", script])
        assert code == 0, output
        return json.loads(output)

    def token(self, uses: int = 1) -> JoinToken:
        """Return a new token, as a joining machine reads it."""
        made = self.ask("token", "create", "--role", "worker", "--uses", str(uses))
        return JoinToken.parse(made["token"])

    def trusts(self, ca: str, certificate: str) -> bool:
        """Tell whether Nebula takes a node's certificate from one who trusts ``ca``."""
        script = 'echo "$CA" > /tmp/ca; echo "$CRT" > /tmp/crt; nebula-cert verify -ca /tmp/ca -crt /tmp/crt'
        done = self.container.exec_run(["sh", "-c", script], environment={"CA": ca, "CRT": certificate})
        return bool(done.exit_code == 0)


def heartbeats(token: JoinToken, bearers: list[str]) -> list[dict[str, Any]]:
    """Return the answers to a heartbeat of each node, over connections that are kept open as sidecars keep theirs:
    for the next heartbeat, unless the authority says that it closes them.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    kept: deque[http.client.HTTPSConnection] = deque(maxlen=_KEPT_OPEN)
    answers = []
    for bearer in bearers:
        kept.append(http.client.HTTPSConnection(token.authority, timeout=60, context=context))
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {bearer}"}
        kept[-1].request("POST", "/v1/heartbeat", '{"state": "running"}', headers)
        answer = kept[-1].getresponse()
        content = answer.read()
        assert answer.status == 200, content
        answers.append(json.loads(content))
    return answers


@dataclass
class Member:
    """A node of the pool, by the client that its sidecar would use."""

    place: Membership
    client: AuthorityClient

    @classmethod
    def enrol(cls, token: JoinToken, name: str, key: int = 0) -> "Member":
        """Let a node in."""
        client = AuthorityClient(token.authority, token.pin)
        return cls(client.enrol(token, name, public_key(key)), client)

    def heartbeat(self, state: str = "running") -> Any:
        """Return what the authority has to say."""
        return self.client.heartbeat(self.place, state)

    def renew(self, key: int = 0) -> Any:
        """Return the next certificate."""
        return self.client.renew(self.place, public_key(key))

    def leave(self) -> None:
        """Leave the pool."""
        self.client.leave(self.place)
