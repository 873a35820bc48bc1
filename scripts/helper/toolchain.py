"""The plugins of Docker's client that the stack is made with: Compose and buildx."""

import re
from dataclasses import dataclass

from scripts.helper.shell import Shell

Version = tuple[int, int]

MINIMUM_COMPOSE: Version = (2, 20)
"""The first with ``depends_on.restart`` and ``additional_contexts`` as compose.yaml uses them."""


@dataclass(frozen=True)
class Toolchain:
    """Versions of the plugins; None for one that Docker's client does not find."""

    compose: Version | None
    buildx: Version | None

    @property
    def compose_fits(self) -> bool:
        """Whether Compose is there and new enough."""
        return self.compose is not None and self.compose >= MINIMUM_COMPOSE


def read_toolchain(shell: Shell) -> Toolchain:
    """Ask Docker's client for its plugins; the client need not reach an engine for this."""
    return Toolchain(
        compose=_ask(shell, "compose", "version", "--short"), buildx=_ask(shell, "buildx", "version")
    )


def parse_version(text: str) -> Version | None:
    """Return the first major.minor in a text such as ``1:26.1.5+dfsg1-9`` or ``v0.13.1``, else None."""
    match = re.search(r"(?:^|[^\d:.])?(?:\d+:)?v?(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None


def written(version: Version | None) -> str:
    """Return a version as people write it."""
    return f"{version[0]}.{version[1]}" if version else "none"


def _ask(shell: Shell, *arguments: str) -> Version | None:
    answer = shell.run(["docker", *arguments], limit=30)
    return parse_version(answer.output) if answer.ok else None
