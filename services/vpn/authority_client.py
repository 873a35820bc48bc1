"""Speaks with the pool's authority, over TLS that is pinned by the certificate's SHA-256 from the token.

Nothing secret is sent before the certificate was compared: urllib3 does it right after the handshake.
"""

import json
import time
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any, Self, TypeVar

import urllib3
from pydantic import BaseModel, ValidationError

from services.common.errors import Broken, Refused, Unavailable
from services.common.token import JoinToken
from services.vpn.membership import Membership, Standing

CONNECT_SECONDS = 5.0
READ_SECONDS = 20.0
_ANSWER_LIMIT = 4 * 1024**2

_Answer = TypeVar("_Answer", bound=BaseModel)


class PutOut(Refused):
    """The pool's own authority, known by its pin, says that this node is no member."""


class Certificate(BaseModel):
    """A renewed certificate."""

    certificate: str
    ca: str
    expires_at: float


class Peer(BaseModel):
    """A node of the pool as its authority knows it; ``state`` is ``running``, ``paused`` or ``gone``."""

    name: str
    address: IPv4Address
    role: str
    state: str


class _Peers(BaseModel):
    peers: list[Peer]


class AuthorityClient:
    """One authority.

    Args:
        address: ``host:port``.
        pin: SHA-256 of its certificate in DER form, in hexadecimal.
        clock: monotonic time in seconds.
    """

    def __init__(self, address: str, pin: str, clock: Callable[[], float] = time.monotonic) -> None:
        host, _, port = address.rpartition(":")
        self._clock = clock
        self._address, self._pin = address, pin
        self._pool = urllib3.HTTPSConnectionPool(
            host,
            int(port),
            cert_reqs="CERT_NONE",
            assert_hostname=False,
            assert_fingerprint=pin,
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
            retries=False,
            maxsize=1,
        )

    @classmethod
    def of(cls, membership: Membership) -> Self:
        """Return the authority of this member's pool."""
        return cls(membership.authority, membership.pin)

    def enrol(self, token: JoinToken, name: str, public_key: str) -> Membership:
        """Take a place in the pool.

        Args:
            token: what lets the node in.
            name: what the node shall be called.
            public_key: Nebula's PEM form of the node's X25519 key.

        Raises:
            Unavailable: the authority does not answer.
            Refused: it does not take this token or name, or it is not who the token says.
        """
        answer = self._ask(
            "enrolling",
            "/v1/enrol",
            {"token_id": token.id, "secret": token.secret, "name": name, "public_key": public_key},
        )
        place = {"pool": token.pool, "authority": self._address, "pin": self._pin}
        return self._read(Membership, answer | place)

    def heartbeat(self, membership: Membership, state: str, *, endpoint: bool = False) -> Standing:
        """Say that this node lives, what it does and whether it runs an endpoint; raises as ``enrol``, and PutOut."""
        said = {"state": state, "endpoint": endpoint}
        answer = self._ask("renewing the lease", "/v1/heartbeat", said, membership)
        return self._read(Standing, answer)

    def renew(self, membership: Membership, public_key: str) -> Certificate:
        """Return a new certificate for the same place; raises as ``heartbeat``."""
        answer = self._ask("renewing the certificate", "/v1/renew", {"public_key": public_key}, membership)
        return self._read(Certificate, answer)

    def peers(self, membership: Membership) -> list[Peer]:
        """Return every node of the pool, this one too; raises as ``heartbeat``."""
        return self._read(_Peers, self._ask("asking who is in the pool", "/v1/peers", {}, membership)).peers

    def leave(self, membership: Membership) -> None:
        """Give the place back; raises as ``heartbeat``."""
        self._ask("leaving the pool", "/v1/leave", {}, membership)

    def _ask(
        self, doing: str, path: str, body: dict[str, Any], member: Membership | None = None
    ) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        if member is not None:
            headers["Authorization"] = f"Bearer {member.node_id}.{member.credential}"
        asked_at = self._clock()
        try:
            answer = self._pool.request(
                "POST", path, body=json.dumps(body), headers=headers, preload_content=False, redirect=False
            )
            try:
                content = answer.read(_ANSWER_LIMIT)
            finally:
                answer.release_conn()
        except urllib3.exceptions.SSLError as error:
            if "Fingerprint" in str(error):
                raise Refused(
                    f"{doing}: the certificate of {self._address} is not the one that the token names: "
                    "somebody may sit in between",
                    "ask for a new token",
                ) from error
            raise Unavailable(f"{doing}: {self._address} does not speak TLS", "check the address") from error
        except urllib3.exceptions.HTTPError as error:
            raise Unavailable(
                f"{doing}: the authority {self._address} does not answer, "
                f"waited {self._clock() - asked_at:.0f} s",
                "check that the seed runs and that its port can be reached from here",
            ) from error
        return self._understood(doing, answer.status, content, known=member is not None)

    def _understood(self, doing: str, status: int, content: bytes, known: bool) -> dict[str, Any]:
        try:
            answer = json.loads(content)
            reason = "" if status == 200 else str(answer["error"])
        except (ValueError, KeyError, TypeError):
            raise Broken(f"{doing}: {self._address} is no authority of Calyx (status {status})") from None
        if status == 200 and isinstance(answer, dict):
            return answer
        if status == 403 and known:
            raise PutOut(f"{doing}: {reason}")
        # Too many attempts came from here, which passes
        kind = Unavailable if status >= 500 or status == 429 else Refused
        raise kind(f"{doing}: {reason}")

    def _read(self, form: type[_Answer], answer: dict[str, Any]) -> _Answer:
        try:
            return form.model_validate(answer)
        except ValidationError as error:
            raise Broken(
                f"the authority {self._address} answers in another form: {error.errors()[0]['loc']}",
                "use the same version of Calyx on both machines",
            ) from error
