"""How SIGTERM and SIGINT end a server: at once while it starts, in order while it serves."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Stopped(BaseException):
    """The process was told to stop while it was starting. No ``Exception``, since libraries try again after those."""


class StopRequest:
    """Installs handlers for SIGTERM and SIGINT, which later remember that the process shall stop.

    A server that waits asks ``wait``. One that downloads gigabytes or joins a swarm cannot ask, so within
    ``interrupting`` the signal raises ``Stopped`` wherever the main thread is, once.
    """

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._interrupts = False
        self._process = os.getpid()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, *_: object) -> None:
        self._asked.set()
        # Forked children inherit this handler, and are ended by their parent
        if self._interrupts and os.getpid() == self._process:
            self._interrupts = False
            raise Stopped

    def is_set(self) -> bool:
        """Return whether the process was told to stop."""
        return self._asked.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleep, but not past a signal; return whether one came."""
        return self._asked.wait(seconds)

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Raise ``Stopped`` in this block when a signal comes, or if one came before."""
        self._interrupts = True
        try:
            if self._asked.is_set():
                raise Stopped
            yield
        finally:
            self._interrupts = False
