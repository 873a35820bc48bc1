"""A backup makes the same authority again, and nothing else passes for one."""

import io
import sqlite3
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from services.authority.archive import restore, write_backup
from services.authority.authority import Authority, open_authority
from services.authority.state_folder import StateFolder
from services.authority.tls import ensure_tls, pin_of
from services.common.errors import InvalidInput, Refused
from services.common.settings import AuthoritySettings
from tests.unit.authority.authority_fakes import Clock, FakeSigner, Pool

Members = dict[str, bytes]


@pytest.fixture
def archive(authority: Authority, pool: Pool) -> bytes:
    """Made while the authority serves, with something in it."""
    pool.enrol("alice")
    target = io.BytesIO()
    with authority.state.serving():
        write_backup(authority, target)
    return target.getvalue()


def unpacked(archive: bytes) -> Members:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {one.name: tar.extractfile(one).read() for one in tar}


def packed(members: Members) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return target.getvalue()


def test_it_is_the_same_authority_on_another_machine(
    archive: bytes, pool: Pool, settings: AuthoritySettings, signer: FakeSigner, clock: Clock, tmp_path: Path
) -> None:
    other = settings.model_copy(update={"authority_dir": tmp_path / "other"})
    restore(StateFolder(other.authority_dir), io.BytesIO(archive), replace=False)
    twin = Pool(open_authority(other, signer), clock)

    assert twin.owner.nodes() == pool.owner.nodes()
    assert pin_of(twin.authority.state.tls) == pin_of(pool.authority.state.tls)
    assert twin.enrol("bob", key=2).address == "10.77.0.2/16"
    assert sorted(path.name for path in twin.authority.state.ca.iterdir()) == ["0001.crt", "0001.key"]
    secret = [*twin.authority.state.ca.iterdir(), twin.authority.state.tls, twin.authority.state.database]
    assert [path.name for path in secret if path.stat().st_mode & 0o077] == []
    twin.authority.database.close()


def test_an_authority_that_is_there_is_given_up_only_on_demand(
    archive: bytes, authority: Authority, pool: Pool
) -> None:
    pool.enrol("bob", key=2)
    pool.owner.rotate_ca()
    with pytest.raises(Refused, match=r"there is an authority in .* already — add --replace"):
        restore(authority.state, io.BytesIO(archive), replace=False)
    assert set(pool.states()) == {"alice", "bob"}

    authority.database.close()
    restore(authority.state, io.BytesIO(archive), replace=True)
    assert set(pool.states()) == {"alice"}
    assert len(list(authority.state.ca.glob("*.crt"))) == 1


def test_nothing_is_restored_below_a_running_authority(archive: bytes, authority: Authority) -> None:
    with authority.state.serving(), pytest.raises(Refused, match="a running authority uses it"):
        restore(authority.state, io.BytesIO(archive), replace=True)


def damaged_database(members: Members) -> Members:
    content = bytearray(members["authority.db"])
    content[100:3000] = b"\xff" * 2900
    return {**members, "authority.db": bytes(content)}


BROKEN: dict[str, tuple[Callable[[Members], Members], str]] = {
    "nothing": (lambda members: {}, "no TLS certificate"),
    "no manifest": (lambda m: {name: m[name] for name in m if name != "manifest.json"}, "this is no backup"),
    "foreign manifest": (lambda m: {**m, "manifest.json": b'{"other": 1}'}, "this is no backup"),
    "newer format": (lambda m: {**m, "manifest.json": b'{"calyx-authority-backup": 2}'}, "this is no backup"),
    "manifest no JSON": (lambda m: {**m, "manifest.json": b"\xff"}, "no backup, or is damaged"),
    "no TLS": (lambda m: {name: m[name] for name in m if name != "tls.pem"}, "no TLS certificate"),
    "no CA": (
        lambda m: {name: m[name] for name in m if not name.startswith("ca/")},
        "lacks a certificate auth",
    ),
    "no CA key": (
        lambda m: {name: m[name] for name in m if name != "ca/0001.key"},
        "lacks a certificate auth",
    ),
    "outside": (lambda m: {**m, "../evil": b""}, r"'\.\./evil' does not belong in a backup"),
    "absolute": (lambda m: {**m, "/tmp/evil": b""}, "'/tmp/evil' does not belong in a backup"),
    "another file": (lambda m: {**m, "ca/0001.txt": b""}, "does not belong in a backup"),
    "damaged database": (damaged_database, "database is damaged"),
    "no database": (lambda m: {**m, "authority.db": b"letter" * 1000}, "database is damaged: file is not a"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_archive_is_refused_and_changes_nothing(
    kind: str, archive: bytes, authority: Authority, pool: Pool
) -> None:
    change, problem = BROKEN[kind]
    before = {path: path.read_bytes() for path in authority.state.ca.iterdir()}
    with pytest.raises(InvalidInput, match=problem):
        restore(authority.state, io.BytesIO(packed(change(unpacked(archive)))), replace=True)

    assert {path: path.read_bytes() for path in authority.state.ca.iterdir()} == before
    assert pool.states() == {"alice": "running"}
    assert not any(path.is_dir() and path.name != "ca" for path in authority.state.path.iterdir())


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9])
def test_a_cut_archive_is_refused(part: float, archive: bytes, authority: Authority) -> None:
    whole = len(archive.rstrip(b"\0"))  # what tar pads may be missing
    with pytest.raises(InvalidInput, match="restoring: "):
        restore(authority.state, io.BytesIO(archive[: int(whole * part)]), replace=True)


def test_a_link_is_refused(archive: bytes, authority: Authority) -> None:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        member = tarfile.TarInfo("tls.pem")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member)

    with pytest.raises(InvalidInput, match=r"'tls.pem' does not belong"):
        restore(authority.state, io.BytesIO(target.getvalue()), replace=True)


def test_a_database_of_a_newer_schema_is_refused(
    archive: bytes, authority: Authority, tmp_path: Path
) -> None:
    members = unpacked(archive)
    path = tmp_path / "newer.db"
    path.write_bytes(members["authority.db"])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0999'")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    newer = packed({**members, "authority.db": path.read_bytes()})
    with pytest.raises(InvalidInput, match=r"a newer Calyx made its schema \(0999\)"):
        restore(authority.state, io.BytesIO(newer), replace=True)


def test_tls_is_in_the_backup_even_before_the_first_token(authority: Authority) -> None:
    ensure_tls(authority.state, "pool")
    target = io.BytesIO()
    write_backup(authority, target)

    assert list(unpacked(target.getvalue())) == [
        "manifest.json",
        "ca/0001.key",
        "ca/0001.crt",
        "tls.pem",
        "authority.db",
    ]
