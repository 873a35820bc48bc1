"""A signer without the program, a clock that is set by hand, and a pool to call."""

import base64
import hashlib
import json

from services.authority.administration import Administration
from services.authority.answers import Enrolled
from services.authority.authority import Authority
from services.authority.certificates import Signed, Subject
from services.authority.membership import Application, Membership
from services.authority.throttle import Throttle
from services.authority.tokens import Role
from services.common.errors import Broken
from services.common.token import JoinToken

START = 1_800_000_000


class Clock:
    """Seconds since the epoch, which pass when a test says so."""

    def __init__(self) -> None:
        self.now = float(START)

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


class FakeSigner:
    """Writes as JSON what a certificate would say; like the real one, the same content gives the same one."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.fails = False

    def make_ca(self, name: str, seconds: int) -> tuple[str, str]:
        now = int(self.clock())
        return self._pem({"ca": name, "from": now, "until": now + seconds}), "the key\n"

    def sign(self, ca: tuple[str, str], subject: Subject, seconds: int) -> Signed:
        if self.fails:
            raise Broken("running nebula-cert sign: no")
        now = int(self.clock())
        issuer = hashlib.sha256(ca[0].encode()).hexdigest()
        content = {"issuer": issuer, "key": subject.public_key, "name": subject.name}
        content |= {"from": now, "until": now + seconds}
        return self.read(self._pem({**content, "address": subject.address, "groups": list(subject.groups)}))

    def read(self, pem: str) -> Signed:
        said = says(pem)
        return Signed(pem, hashlib.sha256(pem.encode()).hexdigest(), said["from"], said["until"])

    def _pem(self, content: dict[str, object]) -> str:
        return json.dumps(content) + "\n"


def says(pem: str) -> dict:
    """Return what a certificate of the fake says."""
    return json.loads(pem)


def public_key(number: int = 0) -> str:
    body = base64.b64encode(number.to_bytes(32, "big")).decode()
    return f"-----BEGIN NEBULA X25519 PUBLIC KEY-----\n{body}\n-----END NEBULA X25519 PUBLIC KEY-----\n"


class Pool:
    """An authority as its owner and its nodes see it, in one object."""

    def __init__(self, authority: Authority, clock: Clock) -> None:
        self.authority = authority
        self.clock = clock
        self.owner = Administration(authority, clock)
        self.members = Membership(
            authority.settings, authority.database, authority.authorities, Throttle(clock), clock
        )

    def token(self, role: Role = "worker", ttl: int = 3600, uses: int = 100) -> JoinToken:
        return JoinToken.parse(self.owner.create_token(role, ttl, uses)["token"])

    def enrol(
        self, name: str, token: JoinToken | None = None, key: int = 0, source: str = "192.0.2.1"
    ) -> Enrolled:
        token = token or self.token()
        return self.members.enrol(Application(token.id, token.secret, name, public_key(key)), source)

    def heartbeat(self, node: Enrolled):
        return self.members.heartbeat(bearer(node), "running", None, None)

    def runs_endpoint(self, node: Enrolled):
        return self.members.heartbeat(bearer(node), "running", None, None, endpoint=True)

    def states(self) -> dict[str, str]:
        return {node["name"]: node["state"] for node in self.owner.nodes()}

    def kinds(self) -> list[str]:
        with self.authority.database.read() as store:
            return [kind for _, kind, _ in store.events()]


def bearer(node: Enrolled) -> str:
    return f"{node.node_id}.{node.credential}"
