"""The mesh's certificate authorities, kept in the state folder, and what signs with them.

``ca/0001.crt`` and ``ca/0001.key`` are the first; a rotation adds the next number. The newest signs. All that are
still valid are handed out, so that nodes with certificates of an older one stay connected until they renew.
"""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from services.authority.state_folder import StateFolder
from services.common.errors import Broken, InvalidInput
from services.common.files import replace_file

_KEY_HEADER = "-----BEGIN NEBULA X25519 PUBLIC KEY-----"
_KEY_FOOTER = "-----END NEBULA X25519 PUBLIC KEY-----"
_KEY_BYTES = 32
_SPARE_SECONDS = 60
"""How long before its authority a certificate ends at the latest, for both are rounded to seconds."""


@dataclass(frozen=True)
class Signed:
    """A certificate: its text, its SHA-256 in hex and its end in seconds since the epoch."""

    pem: str
    fingerprint: str
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


class Authorities:
    """All certificate authorities of the pool.

    Args:
        state: the folder they are kept in.
        signer: what makes and uses them.
        pool: the pool's name, which they carry.
        seconds: how long a new one is valid.
    """

    def __init__(self, state: StateFolder, signer: Signer, pool: str, seconds: int) -> None:
        self._state = state
        self._signer = signer
        self._pool = pool
        self._seconds = seconds
        self._known: dict[tuple[Path, int], Signed] = {}

    def ensure(self) -> None:
        """Make the first authority if there is none."""
        with self._state.locked():
            if not self._files():
                self._make(1)

    def rotate(self) -> Signed:
        """Make a new authority, which signs from now on, and return its certificate."""
        with self._state.locked():
            files = self._files()
            return self._make(int(files[-1].stem) + 1 if files else 1)

    def bundle(self, now: int) -> str:
        """Return the certificates of all authorities that are valid at ``now``, the newest last."""
        return "".join(one.pem for one in self._all() if one.not_after > now)

    def issue(self, subject: Subject, now: int, seconds: int) -> Signed:
        """Sign for a node with the newest authority, for ``seconds`` or as long as that is valid itself.

        Raises:
            Broken: the authority's life is over, or the signing program failed.
        """
        newest = self._files()[-1]
        left = self._read(newest).not_after - now - _SPARE_SECONDS
        if left <= 0:
            raise Broken(
                "signing a certificate: the mesh's certificate authority has expired",
                "make a new one: python3 -m services.authority rotate-ca",
            )
        ca = (newest.read_text(), newest.with_suffix(".key").read_text())
        return self._signer.sign(ca, subject, min(seconds, left))

    def _make(self, number: int) -> Signed:
        certificate, key = self._signer.make_ca(self._pool, self._seconds)
        path = self._state.ca / f"{number:04}.crt"
        # An authority is there once its certificate is: the key comes first.
        replace_file(path.with_suffix(".key"), key)
        replace_file(path, certificate)
        return self._read(path)

    def _files(self) -> list[Path]:
        return sorted(path for path in self._state.ca.glob("*.crt") if path.stem.isdecimal())

    def _all(self) -> list[Signed]:
        return [self._read(path) for path in self._files()]

    def _read(self, path: Path) -> Signed:
        # Looked at each time, because a rotation is another process's; what an unchanged file says is remembered.
        key = (path, path.stat().st_mtime_ns)
        if key not in self._known:
            self._known[key] = self._signer.read(path.read_text())
        return self._known[key]


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
