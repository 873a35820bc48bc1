"""What a person sees while something takes long: steps with a time stamp, details below them.

::

    [16:28:14] Docker engine 26.1 answers
               Compose 2.26, buildx 0.13
"""

import shutil
import sys
from collections.abc import Callable
from datetime import datetime
from typing import TextIO

_INDENT = " " * len("[16:28:14] ")
_CLEAR_LINE = "\r\x1b[K"


class Steps:
    """Writes steps, one line each.

    Args:
        stream: where they go.
        clock: the current local time.
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], datetime] = datetime.now) -> None:
        self._stream = stream or sys.stdout
        self._clock = clock
        self._live = False

    def step(self, text: str) -> None:
        """Begin a step: one line with the time."""
        self._write(f"[{self._clock():%H:%M:%S}] {text}\n")

    def detail(self, text: str) -> None:
        """Add a line to the current step."""
        self._write(f"{_INDENT}{text}\n")

    def begin(self, text: str) -> None:
        """Say that something long begins: a passing line on a terminal, a detail elsewhere."""
        if self._stream.isatty():
            self.live(text)
        else:
            self.detail(text)

    def live(self, text: str) -> None:
        """Show a passing state in a line that the next output replaces; nothing unless on a terminal."""
        if not self._stream.isatty():
            return
        width = shutil.get_terminal_size().columns - 1
        self._write(f"{_INDENT}{text}"[:width])
        self._live = True

    def _write(self, text: str) -> None:
        self._stream.write((_CLEAR_LINE if self._live else "") + text)
        self._stream.flush()
        self._live = False
