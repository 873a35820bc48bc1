"""The one place that runs other programs, as a small seam that tests replace."""

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

NOT_FOUND = 127
"""Exit code of a program that is not installed, as in every shell."""


@dataclass(frozen=True)
class Finished:
    """How a program ended.

    Attributes:
        code: its exit code; 127 if it is not installed, negative if a signal ended it.
        output: what it wrote to standard output and standard error, in the order it wrote them.
    """

    code: int
    output: str

    @property
    def ok(self) -> bool:
        """Whether it ended with exit code 0."""
        return self.code == 0


class Shell(Protocol):
    """Runs programs; arguments are lists, never shell text."""

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
        limit: float | None = None,
    ) -> Finished:
        """Run a program to its end.

        Args:
            argv: the program and its arguments.
            env: variables that are added to the environment.
            on_line: called with each line of output as it comes.
            limit: seconds after which the program is ended.
        """

    def spawn(self, argv: Sequence[str], log: Path) -> None:
        """Start a program that outlives this one, with its output going to the end of ``log``."""

    def find(self, name: str) -> str | None:
        """Return the path of a program, or None if it is not installed."""


class HostShell:
    """The shell of this machine."""

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
        limit: float | None = None,
    ) -> Finished:
        """Run a program to its end; see :class:`Shell`."""
        try:
            process = subprocess.Popen(
                argv,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
        except FileNotFoundError:
            return Finished(NOT_FOUND, f"{argv[0]}: not found")
        watchdog = threading.Timer(limit, process.kill) if limit is not None else None
        if watchdog:
            watchdog.start()
        lines: list[str] = []
        try:
            assert process.stdout is not None  # noqa: S101 - PIPE was asked for
            for line in process.stdout:
                lines.append(line)
                if on_line:
                    on_line(line.rstrip())
            return Finished(process.wait(), "".join(lines))
        finally:
            if watchdog:
                watchdog.cancel()
            _end(process)

    def spawn(self, argv: Sequence[str], log: Path) -> None:
        """Start a program in a session of its own; see :class:`Shell`."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def find(self, name: str) -> str | None:
        """Return the path of a program; see :class:`Shell`."""
        return shutil.which(name)


def _end(process: "subprocess.Popen[str]") -> None:
    """End a program that an exception, such as Ctrl-C, left running."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
