"""The authority's own TLS certificate: signed by nobody, known by the pin that tokens carry."""

import hashlib
import ssl
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from services.authority.state_folder import StateFolder
from services.common.errors import Broken
from services.common.files import replace_file

# Clients compare the pin and no date, for their clocks may be wrong; these mean "always" (RFC 5280, 4.1.2.5).
_NOT_BEFORE = datetime(2020, 1, 1, tzinfo=UTC)
_NOT_AFTER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def ensure_tls(state: StateFolder, pool: str) -> Path:
    """Return the file with the key and the certificate, made if there is none."""
    with state.locked():
        if not state.tls.exists():
            replace_file(state.tls, _make(pool))
    return state.tls


def pin_of(path: Path) -> str:
    """Return the SHA-256 of the certificate in DER, in hex.

    Raises:
        Broken: the file holds no certificate.
    """
    try:
        _, begin, rest = path.read_text().partition("-----BEGIN CERTIFICATE-----")
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(begin + rest)).hexdigest()
    except (OSError, ValueError) as error:
        raise Broken(
            f"reading the authority's TLS certificate {path}: {error}",
            "restore it from a backup: without it, no token given out before is good",
        ) from error


def _make(pool: str) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Calyx authority of {pool}"[:64])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return (private + certificate.public_bytes(serialization.Encoding.PEM)).decode()
