"""The rules of tokens: who may enrol with which, how often and how long. Pure: no clock, no database.

Secrets are kept as SHA-256 and nothing slower, because they are 32 random bytes: a slow hash such as bcrypt protects
what people make up, while nobody searches 2^256 values, and it would make each wrong guess cost us more than the
guesser.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from services.common.errors import InvalidInput, Refused

Role = Literal["seed", "worker", "user"]
ISSUED_ROLES: tuple[Role, ...] = ("worker", "user")
"""What tokens are made for on request; the one for the seed node is made by the authority itself."""
GROUPS: dict[Role, tuple[str, ...]] = {
    "seed": ("seed",),
    "worker": ("member", "worker"),
    "user": ("member", "user"),
}
"""What a node's certificate says it is; the firewalls of the mesh go by it."""

MAX_TTL = 366 * 24 * 3600
MAX_USES = 100_000
_ASK_AGAIN = "ask the pool's owner for a new token"


@dataclass(frozen=True)
class Token:
    """One right to enrol, as it is stored; times are seconds since the epoch by the authority's clock."""

    id: str
    role: Role
    secret_hash: str
    created_at: int
    expires_at: int
    uses: int
    used: int = 0
    revoked_at: int | None = None

    def state(self, now: int) -> Literal["valid", "revoked", "used up", "expired"]:
        """Return what an administrator's list says; the first that applies, the most final first."""
        if self.revoked_at is not None:
            return "revoked"
        if self.used >= self.uses:
            return "used up"
        return "expired" if self.expires_at <= now else "valid"

    def check(self, now: int) -> None:
        """Raise unless a node may enrol with it now, its secret being right.

        Raises:
            Refused: it is revoked, used up or expired; the message says which.
        """
        match self.state(now):
            case "valid":
                return
            case "revoked":
                raise Refused("enrolling: this token was revoked", _ASK_AGAIN)
            case "used up":
                raise Refused(f"enrolling: this token is used up, {_times(self.uses)}", _ASK_AGAIN)
            case "expired":
                until = datetime.fromtimestamp(self.expires_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
                raise Refused(f"enrolling: this token expired at {until}", _ASK_AGAIN)


def new_token(role: Role, ttl: int, uses: int, now: int) -> tuple[Token, str]:
    """Make a token that lives ``ttl`` seconds; return what is stored and the secret, which nobody sees again.

    Raises:
        InvalidInput: the lifetime or the number of uses is out of bounds.
    """
    if not 1 <= ttl <= MAX_TTL:
        raise InvalidInput("creating a token: it must live between a second and 366 days")
    if not 1 <= uses <= MAX_USES:
        raise InvalidInput(f"creating a token: it must allow between 1 and {MAX_USES} uses")
    secret = new_secret()
    return Token(secrets.token_hex(6), role, hash_of(secret), now, now + ttl, uses), secret


def new_secret() -> str:
    """Return 32 random bytes as text."""
    return secrets.token_urlsafe(32)


def hash_of(secret: str) -> str:
    """Return what is stored of a secret."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def matches(secret: str, secret_hash: str | None) -> bool:
    """Tell whether ``secret`` is the one whose hash is stored, in a time that says nothing about either."""
    return hmac.compare_digest(hash_of(secret), secret_hash or "")


def _times(uses: int) -> str:
    return "once" if uses == 1 else f"{uses} times"
