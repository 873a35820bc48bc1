"""What certificates of the mesh say, and what makes and reads them."""

import base64
from dataclasses import dataclass
from typing import Protocol

from services.common.errors import InvalidInput

_KEY_HEADER = "-----BEGIN NEBULA X25519 PUBLIC KEY-----"
_KEY_FOOTER = "-----END NEBULA X25519 PUBLIC KEY-----"
_KEY_BYTES = 32


@dataclass(frozen=True)
class Signed:
    """A certificate: its text, its SHA-256 in hex, its begin and its end in seconds since the epoch."""

    pem: str
    fingerprint: str
    not_before: int
    not_after: int


@dataclass(frozen=True)
class Subject:
    """What a node's certificate says of it; ``address`` with the length of the network's prefix."""

    public_key: str
    name: str
    address: str
    groups: tuple[str, ...]


class Signer(Protocol):
    """What makes and reads the mesh's certificates; raises ``Broken`` when it cannot."""

    def make_ca(self, name: str, seconds: int) -> tuple[str, str]:
        """Return certificate and key, both as PEM, of a new authority that is valid for ``seconds``."""

    def sign(self, ca: tuple[str, str], subject: Subject, seconds: int) -> Signed:
        """Return a certificate for a node, signed by ``ca`` (certificate and key)."""

    def read(self, pem: str) -> Signed:
        """Return what the certificate ``pem`` says."""


def checked_public_key(pem: str) -> str:
    """Return the public key of a node's mesh in its one proper form.

    Raises:
        InvalidInput: it is none.
    """
    lines = [line.strip() for line in pem.strip().splitlines()]
    try:
        if len(lines) != 3 or (lines[0], lines[2]) != (_KEY_HEADER, _KEY_FOOTER):
            raise ValueError
        key = base64.b64decode(lines[1], validate=True)
        if len(key) != _KEY_BYTES:
            raise ValueError
    except ValueError:
        raise InvalidInput(
            "public_key is no X25519 public key of Nebula", "send what nebula-cert keygen -out-pub wrote"
        ) from None
    return f"{_KEY_HEADER}\n{base64.b64encode(key).decode()}\n{_KEY_FOOTER}\n"
