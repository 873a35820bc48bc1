"""Which certificate authority signs, and which ones nodes trust. Pure: no clock, no files.

A new authority is handed out at once and signs one lease later: by then every node that is there trusts it. The one
before it stays trusted until the last certificate that it can have signed is over; from then on its key is worthless.
All of it follows from what the certificates themselves say, so that it survives a backup and another machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.authority.certificates import Signed

_SPARE_SECONDS = 60
_SPARE_PART = 10


@dataclass(frozen=True)
class Lifetimes:
    """Seconds that a certificate authority and a node's certificate are valid, and a lease: the longest that news
    take to a node that is there."""

    authority: int
    certificate: int
    lease: int


@dataclass(frozen=True)
class Generation:
    """One certificate authority and its part in the pool; times are seconds since the epoch."""

    certificate: Signed
    signs_from: int
    trusted_until: int

    @property
    def signs_until(self) -> int:
        """When it is too late to sign: signing takes time, and both ends are rounded to seconds."""
        one = self.certificate
        return one.not_after - min(_SPARE_SECONDS, (one.not_after - one.not_before) // _SPARE_PART)


def generations(authorities: Sequence[Signed], lifetimes: Lifetimes) -> list[Generation]:
    """Return the part of each of ``authorities``, which are in the order that they were made in."""
    found: list[Generation] = []
    for one in authorities:
        begin = 0
        if found:
            older = found[-1]
            # When nothing is left that could sign meanwhile, waiting helps nobody.
            begin = max(one.not_before, min(one.not_before + lifetimes.lease, older.signs_until))
            found[-1] = replace(older, trusted_until=min(older.trusted_until, begin + lifetimes.certificate))
        found.append(Generation(one, begin, one.not_after))
    return found


def signing(known: Sequence[Generation], now: int) -> Generation:
    """Return the one that signs at ``now``: the newest whose time has come."""
    return next((one for one in reversed(known) if one.signs_from <= now), known[0])
