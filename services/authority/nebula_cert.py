"""Signs by ``nebula-cert``, the program that comes with Nebula (1.9: one IPv4 address, one JSON object a line)."""

import json
import subprocess
import tempfile
from datetime import datetime
from pathlib import Path

from services.authority.certificates import Signed, Subject
from services.common.errors import Broken

_TIMEOUT = 20.0


class NebulaCert:
    """The program, which works on files: they live for one call, in a folder that only this user may enter.

    Args:
        program: its name on PATH, or its path.
    """

    def __init__(self, program: str = "nebula-cert") -> None:
        self._program = program

    def make_ca(self, name: str, seconds: int) -> tuple[str, str]:
        """See :meth:`services.authority.certificates.Signer.make_ca`."""
        with tempfile.TemporaryDirectory(prefix="calyx-ca-") as folder:
            certificate, key = Path(folder, "crt"), Path(folder, "key")
            self._run(
                "ca",
                "-name",
                name,
                "-duration",
                f"{seconds}s",
                "-out-crt",
                str(certificate),
                "-out-key",
                str(key),
            )
            return certificate.read_text(), key.read_text()

    def sign(self, ca: tuple[str, str], subject: Subject, seconds: int) -> Signed:
        """See :meth:`services.authority.certificates.Signer.sign`."""
        with tempfile.TemporaryDirectory(prefix="calyx-sign-") as folder:
            ca_certificate, ca_key = Path(folder, "ca.crt"), Path(folder, "ca.key")
            public, certificate = Path(folder, "pub"), Path(folder, "crt")
            ca_certificate.write_text(ca[0])
            ca_key.write_text(ca[1])
            public.write_text(subject.public_key)
            arguments = {
                "-ca-crt": str(ca_certificate),
                "-ca-key": str(ca_key),
                "-name": subject.name,
                "-ip": subject.address,
                "-groups": ",".join(subject.groups),
                "-duration": f"{seconds}s",
                "-in-pub": str(public),
                "-out-crt": str(certificate),
            }
            self._run("sign", *(word for pair in arguments.items() for word in pair))
            return self._read(certificate)

    def read(self, pem: str) -> Signed:
        """See :meth:`services.authority.certificates.Signer.read`."""
        with tempfile.TemporaryDirectory(prefix="calyx-read-") as folder:
            path = Path(folder, "crt")
            path.write_text(pem)
            return self._read(path)

    def _read(self, path: Path) -> Signed:
        printed = self._run("print", "-json", "-path", str(path))
        try:
            document = json.loads(printed)
            begin, end = (
                int(datetime.fromisoformat(document["details"][name]).timestamp())
                for name in ("notBefore", "notAfter")
            )
            return Signed(path.read_text(), str(document["fingerprint"]), begin, end)
        except (ValueError, KeyError, TypeError) as error:
            raise Broken(
                f"reading a certificate: {self._program} printed what is not understood",
                "install Nebula 1.9, as in images/authority",
            ) from error

    def _run(self, *arguments: str) -> str:
        try:
            ended = subprocess.run(
                [self._program, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            reason = error.strerror if isinstance(error, OSError) else f"no end within {_TIMEOUT:.0f} s"
            raise Broken(f"running {self._program} {arguments[0]}: {reason}") from error
        if ended.returncode:
            problem = (ended.stderr.strip() or f"exit code {ended.returncode}").splitlines()[0]
            raise Broken(f"running {self._program} {arguments[0]}: {problem.removeprefix('Error: ')}")
        return ended.stdout
