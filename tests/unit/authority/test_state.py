"""The folder of keys: closed to others, whole at any time, used by one; and the TLS certificate in it."""

import hashlib
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509

from services.authority.authority import open_authority
from services.authority.state_folder import StateFolder, new_secret_file
from services.authority.tls import ensure_tls, pin_of
from services.common.errors import Broken, InvalidInput, Refused
from services.common.settings import AuthoritySettings


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_is_closed_to_others_even_if_it_was_open(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    state = StateFolder(tmp_path / "open")

    assert [mode(path) for path in (state.path, state.ca)] == [0o700, 0o700]


@pytest.mark.parametrize("place", ["/proc/calyx", "/dev/null/calyx"])
def test_a_folder_that_cannot_be_written_to_is_said(place: str, settings: AuthoritySettings) -> None:
    with pytest.raises(
        Broken, match=f"opening the authority's folder {place}: .* — make it a folder that user"
    ):
        open_authority(settings.model_copy(update={"authority_dir": Path(place)}))


def test_one_authority_serves_from_it(tmp_path: Path) -> None:
    first, second = StateFolder(tmp_path).serving(), StateFolder(tmp_path).serving()
    with first, pytest.raises(Refused, match="a running authority uses it"):
        second.__enter__()
    with StateFolder(tmp_path).serving():
        pass


def test_a_backup_overwrites_no_file(tmp_path: Path) -> None:
    path = tmp_path / "backup"
    with new_secret_file(path) as file:
        file.write(b"one")
    assert mode(path) == 0o600
    with pytest.raises(InvalidInput, match="File exists — name one that is not there"):
        new_secret_file(path).__enter__()
    assert path.read_bytes() == b"one"


def test_half_a_backup_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "backup"
    with pytest.raises(OSError, match="disk full"), new_secret_file(path):
        raise OSError("disk full")
    assert not path.exists()


def test_the_tls_certificate_is_made_once_and_known_by_its_pin(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    path = ensure_tls(state, "x" * 63)
    made = path.read_bytes()

    assert ensure_tls(state, "other").read_bytes() == made
    assert mode(path) == 0o600
    certificate = x509.load_pem_x509_certificate(made)
    der = ssl.PEM_cert_to_DER_cert(made[made.index(b"-----BEGIN CERT") :].decode())
    assert pin_of(path) == hashlib.sha256(der).hexdigest()
    assert certificate.not_valid_after_utc.year == 9999
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path)


def test_a_tls_file_without_a_certificate_is_broken(tmp_path: Path) -> None:
    path = tmp_path / "tls.pem"
    with pytest.raises(
        Broken, match=r"reading the authority's TLS certificate .* — restore it from a backup"
    ):
        pin_of(path)
    path.write_text("nothing")
    with pytest.raises(Broken, match="reading the authority's TLS certificate"):
        pin_of(path)
