"""What only the authority tells apart, and what each error of the tree is in HTTP.

::

    InvalidInput
     ├── TooLarge          a body over the limit
     └── UnknownEntry      an administrator names a token or a node that is not there
    Refused
     └── TooManyAttempts   wrong secrets from one place, answered with when to come back
"""

import math

from services.common.errors import CalyxError, InvalidInput, Refused, Unavailable


class TooLarge(InvalidInput):
    """The caller sends more bytes than a request to the authority has."""


class UnknownEntry(InvalidInput):
    """There is no token or node of that name."""


class TooManyAttempts(Refused):
    """Somebody at the caller's address sent wrong secrets a short while ago.

    Args:
        wait: seconds until the next attempt is looked at.
    """

    def __init__(self, wait: float) -> None:
        self.retry_after = max(1, math.ceil(wait))
        super().__init__(
            "enrolling: wrong secrets came from this address", f"try again in {self.retry_after} s"
        )

    def __reduce__(self) -> tuple[type["TooManyAttempts"], tuple[float]]:  # type: ignore[override]
        """Rebuilt from its own argument, not from those of the base."""
        return type(self), (float(self.retry_after),)


_STATUS: tuple[tuple[type[CalyxError], int], ...] = (
    (TooLarge, 413),
    (InvalidInput, 400),
    (TooManyAttempts, 429),
    (Refused, 403),
    (Unavailable, 503),
)


def http_status(error: CalyxError) -> int:
    """Return the HTTP status of an error; only what is broken on our side is a 500."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
