"""Errors that only an interface tells apart, and what each error of the tree is over HTTP.

::

    InvalidInput
     ├── UnknownModel   a model that is not served here
     ├── TooLarge       a body or message over the limit
     ├── TooSlow        a body that does not come to its end
     ├── TooLong        more tokens than the model or the session can hold
     └── WrongField     a field of the message, which it names
    Unavailable
     └── OutOfTime      an answer that took too long
    Refused
     ├── Unauthorized   no API key, or one that is not valid
     └── OverLimit      more than the API key is good for
"""

import logging

from services.common.errors import Broken, CalyxError, InvalidInput, Refused, Unavailable
from services.common.logs import place_of

logger = logging.getLogger(__name__)

_RETRY_AFTER_SECONDS = "5"


class UnknownModel(InvalidInput):
    """The caller names a model that is not served here."""


class TooLarge(InvalidInput):
    """The caller sends more bytes than one request may have."""


class TooLong(InvalidInput):
    """The prompt, or the answer that is asked for, has more tokens than there is room for."""


class WrongField(InvalidInput):
    """A field has a value that can never work; the problem begins with its name and a colon."""

    @property
    def field(self) -> str:
        """Its name."""
        return self.problem.partition(":")[0]


class OutOfTime(Unavailable):
    """The answer takes longer than it may."""


class TooSlow(InvalidInput):
    """The caller takes too long to send a request."""


class Unauthorized(Refused):
    """The caller has no API key, or one that is not valid."""


class OverLimit(Refused):
    """The caller asks for more than its API key is good for.

    Attributes:
        retry_after: whole seconds after which asking again makes sense.
    """

    def __init__(self, problem: str, remedy: str | None = None, retry_after: int = 1) -> None:
        super().__init__(problem, remedy)
        self.retry_after = retry_after


_STATUS: tuple[tuple[type[CalyxError], int], ...] = (
    (UnknownModel, 404),
    (TooLarge, 413),
    (TooSlow, 408),
    (Unauthorized, 401),
    (OverLimit, 429),
    (InvalidInput, 400),
    (Unavailable, 503),
    (Refused, 503),
)


def http_status(error: CalyxError) -> int:
    """Return the HTTP status of an error; only what is broken on our side is a 500."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def error_headers(error: CalyxError) -> dict[str, str]:
    """Return the headers that say how to ask again: when, or with which kind of key."""
    if isinstance(error, Unauthorized):
        return {"www-authenticate": "Bearer"}
    if isinstance(error, OverLimit):
        return {"retry-after": str(error.retry_after)}
    return {"retry-after": _RETRY_AFTER_SECONDS} if isinstance(error, (Unavailable, Refused)) else {}


def presentable(error: Exception) -> CalyxError:
    """Return an error that may be shown to the caller, logging one that nobody expected.

    It is logged by its kind and place alone, because its message could quote a prompt.
    """
    if isinstance(error, CalyxError):
        return error
    logger.error(
        "request failed unexpectedly", extra={"kind": type(error).__name__, "where": place_of(error)}
    )
    return Broken(
        f"the endpoint failed unexpectedly ({type(error).__name__})", "its log says where; please report it"
    )
