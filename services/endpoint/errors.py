"""Errors that only an interface tells apart, and what each error of the tree is over HTTP.

::

    InvalidInput
     ├── UnknownModel   a model that is not served here
     ├── TooLarge       a body or message over the limit
     ├── TooLong        more tokens than the model or the session can hold
     └── WrongField     a field of the message, which it names
    Unavailable
     └── OutOfTime      an answer that took too long
"""

import logging

from services.common.errors import Broken, CalyxError, InvalidInput, Refused, Unavailable
from services.common.logs import place_of

logger = logging.getLogger(__name__)


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


_STATUS: tuple[tuple[type[CalyxError], int], ...] = (
    (UnknownModel, 404),
    (TooLarge, 413),
    (InvalidInput, 400),
    (Unavailable, 503),
    (Refused, 503),
)


def http_status(error: CalyxError) -> int:
    """Return the HTTP status of an error; only what is broken on our side is a 500."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


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
