"""The authority's backup: one tar file with its keys and a consistent copy of its database.

Whoever has it can be the pool, so it is as secret as the folder itself.
"""

import io
import json
import os
import re
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import BinaryIO

from services.authority.authority import Authority
from services.authority.state_folder import CA_NAME, DATABASE_NAME, TLS_NAME, StateFolder
from services.authority.store_database import Database, integrity_of
from services.authority.tls import pin_of
from services.common.errors import Broken, CalyxError, InvalidInput, Refused

_MANIFEST = "manifest.json"
_FORMAT = {"calyx-authority-backup": 1}
_MEMBER = re.compile(
    rf"{re.escape(_MANIFEST)}|{re.escape(TLS_NAME)}|{re.escape(DATABASE_NAME)}|{CA_NAME}/\d{{4,}}\.(crt|key)",
    re.ASCII,
)
_MAX_BYTES = 4 * 1024**3
_OTHER_FILE = "take a file that the command backup wrote"


def write_backup(authority: Authority, target: BinaryIO) -> None:
    """Write the archive; a PostgreSQL database is not in it, for ``pg_dump`` makes better copies of it."""
    state = authority.state
    with (
        tempfile.TemporaryDirectory(prefix="calyx-backup-", dir=state.path) as folder,
        state.locked(),
        tarfile.open(fileobj=target, mode="w|") as archive,
    ):
        _add_bytes(archive, _MANIFEST, json.dumps(_FORMAT).encode())
        for path in [*sorted(state.ca.glob("*.key")), *sorted(state.ca.glob("*.crt")), state.tls]:
            if path.exists():
                _add_bytes(archive, str(path.relative_to(state.path)), path.read_bytes())
        if authority.database.is_sqlite:
            copy = Path(folder, DATABASE_NAME)
            authority.database.copy_to(copy)
            archive.add(copy, DATABASE_NAME, filter=_anonymous)


def restore(state: StateFolder, source: BinaryIO, replace: bool) -> None:
    """Make the folder what it was at the backup.

    Args:
        state: the folder, which no running authority uses.
        source: the archive.
        replace: allows to overwrite an authority that is there.

    Raises:
        InvalidInput: the archive is none, is damaged, or a newer Calyx made its database.
        Refused: an authority is there, or it runs.
    """
    with state.serving(), state.locked(), tempfile.TemporaryDirectory(dir=state.path) as folder:
        if not replace and (state.database.exists() or any(state.ca.glob("*.crt"))):
            raise Refused(
                f"restoring: there is an authority in {state.path} already",
                "add --replace to give it up for the one in the backup",
            )
        staged = Path(folder)
        _unpack(source, staged)
        _verify(staged)
        _swap(staged, state)


def _unpack(source: BinaryIO, folder: Path) -> None:
    try:
        with tarfile.open(fileobj=source, mode="r|*") as archive:
            first = True
            left = _MAX_BYTES
            for member in archive:
                left -= member.size
                # Names are matched whole, so that no archive writes anywhere else.
                if not member.isreg() or not _MEMBER.fullmatch(member.name) or left < 0:
                    raise InvalidInput(
                        f"restoring: {member.name[:100]!a} does not belong in a backup", _OTHER_FILE
                    )
                content = archive.extractfile(member)
                path = folder / member.name
                path.parent.mkdir(mode=0o700, exist_ok=True)
                with path.open("wb") as file:
                    shutil.copyfileobj(content or io.BytesIO(), file)
                path.chmod(0o600)
                if first and (member.name != _MANIFEST or json.loads(path.read_bytes()) != _FORMAT):
                    raise InvalidInput("restoring: this is no backup of an authority", _OTHER_FILE)
                first = False
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise InvalidInput(
            f"restoring: the file is no backup, or is damaged: {error}", _OTHER_FILE
        ) from error


def _verify(folder: Path) -> None:
    try:
        pin_of(folder / TLS_NAME)
    except Broken as error:
        raise InvalidInput("restoring: the backup has no TLS certificate", _OTHER_FILE) from error
    certificates = {path.stem for path in folder.glob(f"{CA_NAME}/*.crt")}
    if not certificates or certificates - {path.stem for path in folder.glob(f"{CA_NAME}/*.key")}:
        raise InvalidInput("restoring: the backup lacks a certificate authority or its key", _OTHER_FILE)
    database = folder / DATABASE_NAME
    if database.exists():
        _verify_database(database)


def _verify_database(path: Path) -> None:
    verdict = integrity_of(path)
    if verdict != "ok":
        raise InvalidInput(f"restoring: the backup's database is damaged: {verdict}", _OTHER_FILE)
    database = Database(f"sqlite:///{path}")
    try:
        database.migrate()
    except CalyxError as error:
        raise InvalidInput(f"restoring: {error.problem}", error.remedy) from error
    finally:
        database.close()


def _swap(staged: Path, state: StateFolder) -> None:
    """Put the checked files in the place of the old ones, which takes renames only and so hardly can fail."""
    for name in (state.database.name, f"{state.database.name}-wal", f"{state.database.name}-shm"):
        # A log of the old database would be played into the new one.
        (state.path / name).unlink(missing_ok=True)
    for path in state.ca.iterdir():
        path.unlink()
    for path in sorted(staged.rglob("*")):
        if path.is_file() and _MEMBER.fullmatch(str(path.relative_to(staged))) and path.name != _MANIFEST:
            os.replace(path, state.path / path.relative_to(staged))


def _add_bytes(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    member.mode = 0o600
    archive.addfile(member, io.BytesIO(content))


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o600
    return member
