"""Keeps a program running that the sidecar depends on."""

import logging
import signal
import subprocess
from collections.abc import Callable, Sequence

from services.common.errors import Broken

logger = logging.getLogger(__name__)

_END_SECONDS = 3.0


def _start(command: Sequence[str]) -> "subprocess.Popen[bytes]":
    # This process blocks the signals that it waits for, and a child inherits that
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, ()),  # noqa: PLW1509 - there are no threads
    )


class Program:
    """One program that is started again whenever it ends; its output goes to the container's log.

    Args:
        command: the program and its arguments.
        start: makes the process; tests pass another.
    """

    def __init__(
        self,
        command: Sequence[str],
        start: Callable[[Sequence[str]], "subprocess.Popen[bytes]"] = _start,
    ) -> None:
        self._command = list(command)
        self._start = start
        self._process: subprocess.Popen[bytes] | None = None

    def ensure(self) -> bool:
        """Start the program if it does not run; return whether it had to be.

        Raises:
            Broken: there is no such program.
        """
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                return False
            logger.warning("a program ended and is started again", extra={"program": self.name, "code": code})
        try:
            self._process = self._start(self._command)
        except OSError as error:
            raise Broken(
                f"starting {self.name}: {error.strerror}", "build the image calyx/vpn anew"
            ) from error
        return True

    @property
    def name(self) -> str:
        """Return the program's name."""
        return self._command[0]

    def reload(self) -> None:
        """Make it read its configuration again, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGHUP)

    def end(self) -> None:
        """End it, by force if it does not within seconds."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
