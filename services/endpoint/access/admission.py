"""Admits requests of every protocol: whose key it is, and whether that key is good for one more."""

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from services.common.errors import Broken, CalyxError, InvalidInput, Unavailable
from services.endpoint.access.keys import ApiKey, KeyFile, KeyRing
from services.endpoint.errors import OverLimit, Unauthorized
from services.endpoint.observing import NobodyWatches, Observer

logger = logging.getLogger(__name__)

_LONGEST_KEY = 256


@dataclass
class _Use:
    """What a key is used for now.

    Attributes:
        open: answers and connections that are going on.
        left: requests that may come at once, of those per minute; fractions grow.
        counted_at: monotonic seconds at which ``left`` was right.
    """

    open: int = 0
    left: float = math.inf
    counted_at: float = field(default=-math.inf)


class Ticket:
    """The right to be served, as a context manager: leaving it makes room for the key's next request."""

    def __init__(self, access: "Access", key: str | None, use: _Use | None, owner: str | None) -> None:
        self._access, self._key, self._use, self._places = access, key, use, 1
        self.owner = owner
        """The name of the key; None where none is asked for."""
        if use is not None:
            use.open += 1

    def spend(self) -> None:
        """Count one more request; what comes later over a connection that stays open is one, too.

        Raises:
            Unauthorized: the key was revoked or has expired meanwhile.
            OverLimit: the key's requests of this minute are used up.
            Unavailable: keys cannot be checked.
        """
        self._access.spend(self._key)

    def widen(self, places: int) -> None:
        """Take so many of the key's places instead of one, for answers that are generated at the same time.

        Raises:
            InvalidInput: the key is never good for so many.
            OverLimit: so many are not free now.
            Unauthorized: the key was revoked or has expired meanwhile.
            Unavailable: keys cannot be checked.
        """
        if self._use is not None:
            self._access.widen(self._key, self._use, places, places - self._places)
            self._places = places

    def close(self) -> None:
        """Give the place back; calling it again changes nothing."""
        if self._use is not None:
            self._use.open -= self._places
            self._use = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Access:
    """Knows the keys and what each is used for; reads the file again when it was changed.

    Args:
        file: the keys; a file that was never made lets everybody in, a broken one nobody.
        observer: is told of refusals.
        clock: monotonic time in seconds.
        now: seconds since the epoch.
    """

    def __init__(
        self,
        file: KeyFile,
        observer: Observer | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._file, self._clock, self._now = file, clock, now
        self._observer = observer or NobodyWatches()
        self._ring: KeyRing | None = None
        self._seen: object = None
        self._was_there = False
        self._problem: str | None = None
        self._uses: dict[str, _Use] = {}

    def admit(self, authorization: str | None) -> Ticket:
        """Admit a caller and take one of the key's places; ``Ticket.spend`` counts its requests.

        Args:
            authorization: what the header or metadata of that name says: ``Bearer`` and the key.

        Raises:
            Unauthorized: a key is asked for, and this is none that is valid.
            OverLimit: the key's places are all taken.
            Unavailable: keys cannot be checked.
        """
        with self._told():
            return self._admit(_bearer(authorization))

    def spend(self, key: str | None) -> None:
        """Count a request of a caller who was admitted; see ``Ticket.spend``."""
        with self._told():
            self._spend(key)

    def widen(self, key: str | None, use: _Use, places: int, more: int) -> None:
        """Take ``more`` places of a key for one who has ``places`` then; see ``Ticket.widen``."""
        with self._told():
            if self._ring_now().required:
                _require_room(self._record(key), use.open + more, places)
            use.open += more

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except CalyxError as error:
            self._observer.refused(error)
            raise

    def _admit(self, key: str | None) -> Ticket:
        if not self._ring_now().required:
            return Ticket(self, None, None, None)
        record = self._record(key)
        use = self._uses.setdefault(record.hash, _Use())
        _require_room(record, use.open + 1)
        return Ticket(self, key, use, record.name)

    def _spend(self, key: str | None) -> None:
        if not self._ring_now().required:
            return
        record = self._record(key)
        if record.requests_per_minute is None:
            return
        use, clock = self._uses.setdefault(record.hash, _Use()), self._clock()
        per_second = record.requests_per_minute / 60
        grown = use.left + (clock - use.counted_at) * per_second
        use.left, use.counted_at = min(record.requests_per_minute, grown), clock
        if use.left < 1:
            wait = math.ceil((1 - use.left) / per_second)
            raise OverLimit(
                f"the API key {record.name} is good for {record.requests_per_minute} requests per minute",
                f"ask again in {wait} s",
                retry_after=wait,
            )
        use.left -= 1

    def _record(self, key: str | None) -> ApiKey:
        if key is None:
            raise Unauthorized(
                "the endpoint asks for an API key", "send it as 'Authorization: Bearer calyx-…'"
            )
        record = self._ring_now().find(key, self._now())
        if record is None:
            raise Unauthorized("the API key is not valid", "ask the endpoint's owner for a new one")
        return record

    def _ring_now(self) -> KeyRing:
        """Return the keys, read again if their file was changed."""
        try:
            seen = self._file.signature()
            self._was_there = self._was_there or seen is not None
            if self._ring is None or seen != self._seen:
                self._ring, self._problem = self._read(), None
                self._seen = seen
        except Broken as error:
            self._ring = None
            if self._problem != str(error):
                self._problem = str(error)
                logger.error("API keys cannot be checked, nobody is let in", extra={"problem": str(error)})
            raise Unavailable("API keys cannot be checked", "the endpoint's log says why") from None
        return self._ring

    def _read(self) -> KeyRing:
        ring = self._file.read()
        if ring is None:
            if self._was_there:
                raise Broken(
                    "the file of API keys is gone", "`calyx keys off` is how to ask for no key again"
                )
            return KeyRing(required=False)
        kept = {one.hash for one in ring.keys}
        self._uses = {known: use for known, use in self._uses.items() if known in kept or use.open}
        logger.info("API keys were read", extra={"required": ring.required, "keys": len(ring.keys)})
        return ring


def _require_room(record: ApiKey, wanted: int, places: int = 1) -> None:
    """Check that a key may be used ``wanted`` times at once, ``places`` of them by one request."""
    limit = record.concurrency
    if limit is None or wanted <= limit:
        return
    if places > limit:
        raise InvalidInput(
            f"the API key {record.name} is good for {limit} answers at once, {places} are asked for",
            "ask for fewer, or for a key with a higher limit",
        )
    raise OverLimit(
        f"the API key {record.name} is used {wanted - places} times at once, and is good for {limit}",
        "wait for an answer, or ask for a key with a higher limit",
    )


def _bearer(authorization: str | None) -> str | None:
    """Return the key of an ``Authorization`` header; what is no key at all is None."""
    scheme, _, key = (authorization or "").strip().partition(" ")
    key = key.strip()
    return key if scheme.lower() == "bearer" and 0 < len(key) <= _LONGEST_KEY else None
