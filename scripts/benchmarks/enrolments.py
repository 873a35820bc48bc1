"""What the authority stands: a thousand nodes, fifty that enrol at the same moment, a sign of life among them all."""

import secrets
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from scripts.benchmarks.figures import Figure
from services.common.errors import CalyxError
from services.common.token import JoinToken
from services.vpn.authority_client import AuthorityClient
from services.vpn.membership import Membership

NODES = 1000
AT_ONCE = 50


@dataclass(frozen=True)
class Outcome:
    """How some enrolments went.

    Attributes:
        members: those that are in now.
        errors: what the others were told.
        seconds: from the first question to the last answer.
    """

    members: tuple[Membership, ...]
    errors: tuple[str, ...]
    seconds: float


def measure(token: JoinToken) -> list[Figure]:
    """Fill a pool with nodes that never come, and return how its authority took it.

    Args:
        token: good for all of them.
    """
    names = [f"bench-{number}" for number in range(NODES + AT_ONCE)]
    many = enrol_all(token, names[:NODES])
    burst = enrol_all(token, names[NODES:], together=True)
    members = (*many.members, *burst.members)
    figures = [
        Figure(f"errors in {NODES} enrolments, {AT_ONCE} open at a time", len(many.errors), "errors", 0),
        Figure(f"{NODES} enrolments", many.seconds, "s"),
        Figure(
            f"errors in {AT_ONCE} enrolments at once, with {NODES} nodes there",
            len(burst.errors),
            "errors",
            0,
        ),
        Figure(f"{AT_ONCE} enrolments at once", burst.seconds, "s"),
    ]
    if members:
        begin = time.monotonic()
        AuthorityClient.of(members[-1]).heartbeat(members[-1], "running")
        figures.append(Figure("sign of life of one of them", time.monotonic() - begin, "s"))
    return figures


def enrol_all(
    token: JoinToken,
    names: Sequence[str],
    *,
    together: bool = False,
    enrol: Callable[[JoinToken, str], Membership] | None = None,
) -> Outcome:
    """Enrol nodes, ``AT_ONCE`` of them at a time, each over a connection of its own.

    Args:
        token: good for all of them.
        names: of the nodes; at most ``AT_ONCE`` if they come together.
        together: let all begin at the same moment.
        enrol: takes one place; by default at the authority that the token names.
    """
    barrier = threading.Barrier(len(names) if together else 1)
    ask = enrol or _enrol

    def one(name: str) -> Membership | str:
        barrier.wait()
        try:
            return ask(token, name)
        except CalyxError as error:
            return str(error)

    begin = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        answers = list(threads.map(one, names))
    seconds = time.monotonic() - begin
    return Outcome(
        tuple(answer for answer in answers if isinstance(answer, Membership)),
        tuple(answer for answer in answers if isinstance(answer, str)),
        seconds,
    )


def _enrol(token: JoinToken, name: str) -> Membership:
    return AuthorityClient(token.authority, token.pin).enrol(token, name, public_key())


def public_key() -> str:
    """Return a public key in Nebula's PEM form that nobody has the private key of; any 32 bytes are one."""
    kind = "NEBULA X25519 PUBLIC KEY"
    return f"-----BEGIN {kind}-----\n{b64encode(secrets.token_bytes(32)).decode()}\n-----END {kind}-----\n"
