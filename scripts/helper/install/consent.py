"""Asking the person before the machine is changed."""

from collections.abc import Callable
from typing import TextIO

from services.common.errors import Refused

Consent = Callable[[str], None]
"""Called with what is about to be done; raises Refused when that is not allowed."""


def asking(*, yes: bool, stdin: TextIO, stdout: TextIO) -> Consent:
    """Return a consent that asks on a terminal, or takes ``--yes`` for an answer.

    Args:
        yes: everything was agreed to beforehand.
        stdin: where the answer comes from.
        stdout: where the question goes.
    """

    def consent(question: str) -> None:
        if yes:
            return
        if not stdin.isatty():
            raise Refused(f"{question} Nobody is there to be asked", "agree by ./scripts/calyx up --yes")
        stdout.write(f"{question} [y/N] ")
        stdout.flush()
        if stdin.readline().strip().lower() not in ("y", "yes"):
            raise Refused("nothing was installed", "run ./scripts/calyx up again to be asked again")

    return consent
