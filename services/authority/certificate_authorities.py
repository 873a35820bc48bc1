"""The mesh's certificate authorities, kept in the state folder, and what signs with them.

``ca/0001.crt`` and ``ca/0001.key`` are the first; a rotation adds the next number. Which one signs and which ones are
trusted is ruled in ``rotation``.
"""

from pathlib import Path

from services.authority.certificates import Signed, Signer, Subject
from services.authority.rotation import Generation, Lifetimes, generations, signing
from services.authority.state_folder import StateFolder
from services.common.errors import Broken
from services.common.files import replace_file


class Authorities:
    """All certificate authorities of the pool.

    Args:
        state: the folder they are kept in.
        signer: what makes and uses them.
        pool: the pool's name, which they carry.
        lifetimes: of authorities and certificates.
    """

    def __init__(self, state: StateFolder, signer: Signer, pool: str, lifetimes: Lifetimes) -> None:
        self._state = state
        self._signer = signer
        self._pool = pool
        self._lifetimes = lifetimes
        self._known: dict[tuple[Path, int], Signed] = {}

    def ensure(self) -> None:
        """Make the first authority if there is none."""
        with self._state.locked():
            if not self._files():
                self._make(1)

    def rotate(self) -> None:
        """Make a new authority, the last of ``generations`` from then on."""
        with self._state.locked():
            files = self._files()
            self._make(int(files[-1].stem) + 1 if files else 1)

    def generations(self) -> list[Generation]:
        """Return all authorities, the newest last."""
        return generations([self._read(path) for path in self._files()], self._lifetimes)

    def bundle(self, now: int) -> str:
        """Return the certificates of all authorities that are trusted at ``now``, the newest last."""
        return "".join(one.certificate.pem for one in self.generations() if now < one.trusted_until)

    def expires_at(self) -> int:
        """Return when the newest authority ends."""
        return self.generations()[-1].certificate.not_after

    def supersedes(self, issued_at: int, now: int) -> bool:
        """Tell whether another authority signs at ``now`` than did at ``issued_at``."""
        return issued_at < signing(self.generations(), now).signs_from

    def issue(self, subject: Subject, now: int) -> Signed:
        """Sign for a node, for the life of a certificate or as long as the authority is valid itself.

        Raises:
            Broken: the authority's life is over, or the signing program failed.
        """
        signer = signing(self.generations(), now)
        left = signer.signs_until - now
        if left <= 0:
            raise Broken(
                "signing a certificate: the mesh's certificate authority has expired",
                "make a new one: python3 -m services.authority rotate-ca",
            )
        ca = (signer.certificate.pem, self._key(signer.certificate))
        return self._signer.sign(ca, subject, min(self._lifetimes.certificate, left))

    def _key(self, certificate: Signed) -> str:
        path = next(path for path in self._files() if self._read(path) == certificate)
        return path.with_suffix(".key").read_text()

    def _make(self, number: int) -> None:
        certificate, key = self._signer.make_ca(self._pool, self._lifetimes.authority)
        path = self._state.ca / f"{number:04}.crt"
        # An authority is there once its certificate is: the key comes first.
        replace_file(path.with_suffix(".key"), key)
        replace_file(path, certificate)

    def _files(self) -> list[Path]:
        return sorted(path for path in self._state.ca.glob("*.crt") if path.stem.isdecimal())

    def _read(self, path: Path) -> Signed:
        # Looked at each time, because a rotation is another process's; what an unchanged file says is remembered.
        key = (path, path.stat().st_mtime_ns)
        if key not in self._known:
            self._known[key] = self._signer.read(path.read_text())
        return self._known[key]
