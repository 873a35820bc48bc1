"""How long a server that is told to stop lets open sessions go on: ``python -m services.server.pausing SECONDS``.

A signal carries no number, so whoever stops the container says it just before, by this command inside it. What it
writes is a moment, not a length: a pause that was given up changes nothing later.
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


class Grace:
    """The moment until which open sessions may go on, as two processes of one container share it.

    Args:
        path: the file that holds it.
        clock: seconds since the epoch.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path, self._clock = path, clock

    def give(self, seconds: float) -> None:
        """Let sessions go on for so many seconds from now.

        Raises:
            Broken: the file cannot be written.
        """
        replace_file(self._path, f"{self._clock() + seconds}\n")

    def left(self) -> float:
        """Return the seconds that sessions have from now; 0 if nobody gave any, or they are over."""
        try:
            return max(0.0, float(self._path.read_text()) - self._clock())
        except FileNotFoundError:
            return 0.0
        except (OSError, ValueError) as error:
            logger.warning("no grace for open sessions: %s is unreadable: %s", self._path, error)
            return 0.0


def main(arguments: list[str], path: Path = _PATH) -> int:
    """Note the grace that the command line gives; return the exit code."""
    try:
        match arguments:
            case [seconds] if seconds.isdecimal():
                Grace(path).give(int(seconds))
            case _:
                raise InvalidInput("one whole number of seconds is expected")
    except CalyxError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
