"""The folder of the authority's keys: who may read it, and how its files change whole or not at all."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from services.common.errors import Broken, InvalidInput, Refused

CA_NAME = "ca"
TLS_NAME = "tls.pem"
DATABASE_NAME = "authority.db"


class StateFolder:
    """The authority's folder; made, and closed to other users, when it is opened.

    Raises:
        Broken: it cannot be made or written to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ca = path / CA_NAME
        self.tls = path / TLS_NAME
        self.database = path / DATABASE_NAME
        try:
            self.ca.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (path, self.ca):
                folder.chmod(0o700)
            with tempfile.TemporaryFile(dir=path):
                pass
        except OSError as error:
            raise Broken(
                f"opening the authority's folder {path}: {error.strerror}",
                "make it a folder that user 10001 owns, or set CALYX_AUTHORITY_DIR",
            ) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from making keys at the same time."""
        with (self.path / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Mark the folder as in use by a serving authority, or by what must not run beside one.

        Raises:
            Refused: another process does so already.
        """
        with (self.path / "serving").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Refused(
                    f"opening the authority's folder {self.path}: a running authority uses it",
                    "stop that one first: docker compose stop authority",
                ) from None
            yield


@contextmanager
def new_secret_file(path: Path) -> Iterator[BinaryIO]:
    """Make a file that only its owner may read; it overwrites none, and is removed if the block raises.

    Raises:
        InvalidInput: it is there already, or cannot be made.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InvalidInput(
            f"making the file {path}: {error.strerror}", "name one that is not there"
        ) from error
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
    except BaseException:
        path.unlink(missing_ok=True)
        raise
