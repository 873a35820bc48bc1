"""API keys: who may call the endpoint and how much, in one small file that holds only their hashes.

A key has 256 random bits, so its SHA-256 can be looked for by nobody: slow hashes are for passwords, which people
choose. A file that was never made means that no key is asked for; one that cannot be read lets nobody in.
"""

import fcntl
import hmac
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.common.errors import Broken, InvalidInput
from services.common.files import replace_file

PREFIX = "calyx-"
_SECRET_BYTES = 32
_MOST_KEYS = 1000
_MOST_BYTES = 1024 * 1024
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"

Limit = Annotated[int, Field(ge=1, le=1_000_000)]


class _Record(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class ApiKey(_Record):
    """What is kept of a key.

    Attributes:
        name: what its owner calls it.
        hash: the SHA-256 of the key, in hex.
        created_at: when it was made, in seconds since the epoch.
        expires_at: when it ends; ``None``: never.
        requests_per_minute: how many requests it is good for; ``None``: any number.
        concurrency: how many answers and WebSocket connections it is good for at once; ``None``: any number.
    """

    name: Annotated[str, Field(pattern=_NAME)]
    hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    created_at: int
    expires_at: int | None = None
    requests_per_minute: Limit | None = None
    concurrency: Limit | None = None


class KeyRing(_Record):
    """Everything in the file; see ``ApiKey``.

    Attributes:
        required: whether a key is asked for. True with no keys lets nobody in.
    """

    version: Literal[1] = 1
    required: bool = True
    keys: Annotated[tuple[ApiKey, ...], Field(max_length=_MOST_KEYS)] = ()

    def find(self, key: str, now: float) -> ApiKey | None:
        """Return the record of a key that is valid, in a time that tells nothing about those it is not."""
        presented = sha256(key.encode(errors="surrogatepass")).hexdigest()
        found = None
        for one in self.keys:
            if hmac.compare_digest(one.hash, presented):
                found = one
        return found if found is not None and (found.expires_at is None or now < found.expires_at) else None

    def with_key(
        self,
        name: str,
        now: float,
        *,
        expires_in: int | None = None,
        requests_per_minute: int | None = None,
        concurrency: int | None = None,
    ) -> tuple["KeyRing", str]:
        """Return a ring with one key more, and that key, which is nowhere else.

        Args:
            name: what to call it.
            now: seconds since the epoch.
            expires_in: seconds; see ``ApiKey`` for this and the rest.
            requests_per_minute: see ``ApiKey``.
            concurrency: see ``ApiKey``.

        Raises:
            InvalidInput: the name is taken or cannot be one, or a limit is none.
        """
        if any(one.name == name for one in self.keys):
            raise InvalidInput(f"there is a key {name} already", "revoke that one, or choose another name")
        if len(self.keys) >= _MOST_KEYS:
            raise InvalidInput(f"there are {_MOST_KEYS} keys already", "revoke one")
        key = PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
        try:
            record = ApiKey(
                name=name,
                hash=sha256(key.encode()).hexdigest(),
                created_at=int(now),
                expires_at=None if expires_in is None else int(now) + expires_in,
                requests_per_minute=requests_per_minute,
                concurrency=concurrency,
            )
        except ValidationError as error:
            raise InvalidInput(_first_problem(error), "use a short name and limits above 0") from None
        return KeyRing(keys=(*self.keys, record)), key

    def without_key(self, name: str) -> "KeyRing":
        """Return a ring without the key of that name.

        Raises:
            InvalidInput: there is none.
        """
        rest = tuple(one for one in self.keys if one.name != name)
        if len(rest) == len(self.keys):
            names = ", ".join(one.name for one in self.keys) or "there is none"
            raise InvalidInput(f"there is no key {name!a}", f"the keys: {names}")
        return self.model_copy(update={"keys": rest})


class KeyFile:
    """The file that the ring is kept in; its folder is the command's to write and the endpoint's to read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def signature(self) -> tuple[int, int, int] | None:
        """Return what differs when the file was changed; ``None`` when there is none.

        Raises:
            Broken: it cannot be looked at.
        """
        try:
            state = os.stat(self._path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._broken(error.strerror or "unreadable") from error
        return state.st_ino, state.st_mtime_ns, state.st_size

    def read(self) -> KeyRing | None:
        """Return what the file holds; ``None`` when it was never made.

        Raises:
            Broken: it cannot be read, or holds something else.
        """
        try:
            with self._path.open("rb") as file:
                content = file.read(_MOST_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._broken(error.strerror or "unreadable") from error
        try:
            return KeyRing.model_validate_json(content)
        except ValidationError as error:
            raise self._broken(_first_problem(error)) from None

    def change(self, change: Callable[[KeyRing], KeyRing]) -> None:
        """Replace the ring by what ``change`` makes of it; nobody else changes it meanwhile.

        Raises:
            Broken: the file cannot be read or written.
            CalyxError: as ``change`` does.
        """
        with self._locked():
            self._write(change(self.read() or KeyRing()))

    def forget(self) -> None:
        """Forget all keys, whatever the file holds, and ask for none any more.

        Raises:
            Broken: the file cannot be written.
        """
        self.replace(KeyRing(required=False))

    def replace(self, ring: KeyRing) -> None:
        """Put a ring in the place of whatever the file holds.

        Raises:
            Broken: the file cannot be written.
        """
        with self._locked():
            self._write(ring)

    def _write(self, ring: KeyRing) -> None:
        replace_file(self._path, ring.model_dump_json(indent=2) + "\n")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            handle = os.open(self._path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            raise self._broken(error.strerror or "unwritable") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _broken(self, reason: str) -> Broken:
        return Broken(f"the file of API keys {self._path}: {reason}", "mend it, or make the keys anew")


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    place = ".".join(map(str, first["loc"])) or "content"
    return f"{place}: {first['msg'].lower()}"
