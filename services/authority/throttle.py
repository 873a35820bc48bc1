"""Slows down whoever tries secrets: each wrong one doubles the time until the next is looked at."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from threading import Lock

from services.authority.errors import TooManyAttempts

FIRST_DELAY = 1.0
MAX_DELAY = 900.0
MEMORY_SECONDS = 3600.0
"""How long after its last wrong secret an address is remembered."""
MAX_SOURCES = 10_000


@dataclass
class _Record:
    failures: int
    last: float


class Throttle:
    """Remembers, per source address, how many wrong secrets came and when the last did.

    A right secret clears nothing: else somebody with a token of their own could guess without delay. Only
    memory is bounded by forgetting the addresses that failed longest ago.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._records: OrderedDict[str, _Record] = OrderedDict()
        self._lock = Lock()

    def check(self, source: str) -> None:
        """Raise :class:`TooManyAttempts` while ``source`` has to wait; its attempt is not looked at then."""
        with self._lock:
            record = self._records.get(_key(source))
            wait = record.last + _delay(record.failures) - self._clock() if record else 0.0
        if wait > 0:
            raise TooManyAttempts(wait)

    def failed(self, source: str) -> None:
        """Note a wrong secret."""
        key, now = _key(source), self._clock()
        with self._lock:
            record = self._records.pop(key, None)
            remembered = record is not None and now - record.last < MEMORY_SECONDS
            self._records[key] = _Record(record.failures + 1 if record and remembered else 1, now)
            if len(self._records) > MAX_SOURCES:
                self._records.popitem(last=False)


def _delay(failures: int) -> float:
    return min(MAX_DELAY, FIRST_DELAY * 2.0 ** min(failures - 1, 60))


def _key(source: str) -> str:
    """Return what counts as one place: an address, or the /64 that any IPv6 customer has to himself."""
    try:
        address = ip_address(source)
    except ValueError:
        return source
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return str(ip_network((address, 64), strict=False))
    return str(address)
