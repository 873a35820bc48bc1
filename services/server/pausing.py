"""How a server that is told to stop does: ``python -m services.server.pausing SECONDS [paused]``.

A signal carries neither a number nor a reason, so whoever stops the container says them just before, by this command
inside it: how long open sessions may go on, and that the owner pauses and means to come back. What it writes is a
moment, not a length: a pause that was given up changes nothing later.
"""

import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

from services.common.errors import CalyxError, InvalidInput
from services.common.files import replace_file
from services.common.heartbeat import DEFAULT_PATH

logger = logging.getLogger(__name__)

GRACE_NAME = "sessions_until"
"""The file's name; it lies beside the heartbeat, on a tmpfs that is empty when the container starts again."""
_PATH = DEFAULT_PATH.with_name(GRACE_NAME)
_PAUSED = "paused"
_REASON_SECONDS = 60.0
"""How long after the grace the reason counts."""


class Grace:
    """The moment until which open sessions may go on, as two processes of one container share it.

    Args:
        path: the file that holds it.
        clock: seconds since the epoch.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path, self._clock = path, clock

    def give(self, seconds: float, *, paused: bool = False) -> None:
        """Let sessions go on for so many seconds from now.

        Args:
            seconds: from now.
            paused: the owner means to come back.

        Raises:
            Broken: the file cannot be written.
        """
        replace_file(self._path, f"{self._clock() + seconds} {_PAUSED if paused else ''}\n")

    def left(self) -> float:
        """Return the seconds that sessions have from now; 0 if nobody gave any, or they are over."""
        return max(0.0, self._read()[0] - self._clock())

    def paused(self) -> bool:
        """Return whether the owner pauses, and means to come back."""
        until, reason = self._read()
        return reason == _PAUSED and until + _REASON_SECONDS > self._clock()

    def _read(self) -> tuple[float, str]:
        try:
            moment, _, reason = self._path.read_text().partition(" ")
            return float(moment), reason.strip()
        except FileNotFoundError:
            return 0.0, ""
        except (OSError, ValueError) as error:
            logger.warning("no grace for open sessions: %s is unreadable: %s", self._path, error)
            return 0.0, ""


def main(arguments: list[str], path: Path = _PATH) -> int:
    """Note the grace that the command line gives; return the exit code."""
    try:
        match arguments:
            case [seconds, *reason] if seconds.isdecimal() and reason in ([], [_PAUSED]):
                Grace(path).give(int(seconds), paused=bool(reason))
            case _:
                raise InvalidInput("a whole number of seconds is expected, and perhaps the word paused")
    except CalyxError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
