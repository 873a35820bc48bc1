"""Which packages bring what is missing, and what must be done for them: decided here, done elsewhere.

The distribution's own suites come first. Debian 12 has neither Compose 2 nor buildx; Debian 13's packages
run on it, so there the later suite is added, from the mirror that the machine uses already and pinned so
low that nothing else is ever taken from it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from scripts.helper.install.apt import UPDATE, AptFacts, install_command
from scripts.helper.toolchain import MINIMUM_COMPOSE, Version
from services.common.errors import Unavailable

LATER_SUITE = "trixie"
SOURCE_FILE = Path("/etc/apt/sources.list.d/calyx-trixie.sources")
PIN_FILE = Path("/etc/apt/preferences.d/calyx-trixie")
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

MANUAL_REMEDY = "install Docker Engine with its Compose and buildx plugins yourself (https://docs.docker.com/engine/install)"


class Part(Enum):
    """Something the stack needs; the value is its name for people."""

    ENGINE = "a Docker engine"
    COMPOSE = f"Compose {MINIMUM_COMPOSE[0]}.{MINIMUM_COMPOSE[1]} or newer"
    BUILDX = "buildx"


# First Docker's own packages, which only machines with its repository know, then Ubuntu's, then Debian's.
_PACKAGES: dict[Part, tuple[str, ...]] = {
    Part.ENGINE: ("docker-ce", "docker.io"),
    Part.COMPOSE: ("docker-compose-plugin", "docker-compose-v2", "docker-compose"),
    Part.BUILDX: ("docker-buildx-plugin", "docker-buildx"),
}
_MINIMUM: dict[Part, Version] = {Part.ENGINE: (20, 10), Part.COMPOSE: MINIMUM_COMPOSE, Part.BUILDX: (0, 10)}
_DEBIAN: dict[Part, tuple[str, ...]] = {
    Part.ENGINE: ("docker.io", "docker-cli", "containerd", "iptables", "debootstrap"),
    Part.COMPOSE: ("docker-compose",),
    Part.BUILDX: ("docker-buildx",),
}
CANDIDATES = sorted({name for names in (*_PACKAGES.values(), *_DEBIAN.values()) for name in names})
"""Every package the plan may choose."""


@dataclass(frozen=True)
class WriteFile:
    """A file of ours that is written whole."""

    path: Path
    text: str


@dataclass(frozen=True)
class Command:
    """A command that is run to its end."""

    argv: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What will be installed, and the actions for it in their order."""

    packages: tuple[str, ...]
    actions: tuple[WriteFile | Command, ...]


def plan_installation(missing: Iterable[Part], distribution: str, facts: AptFacts) -> Plan:
    """Decide how the missing parts come onto this machine.

    Args:
        missing: what is not there; nothing else is installed.
        distribution: ``ID`` of ``/etc/os-release``.
        facts: of apt, with fresh lists.

    Raises:
        Unavailable: neither the machine's suites nor Debian's later one have them.
    """
    parts = [part for part in Part if part in set(missing)]
    chosen = {part: _own_package(part, facts) for part in parts}
    if None not in chosen.values():
        packages = [name for name in chosen.values() if name is not None]
        if "docker.io" in packages and "docker-cli" in facts.candidates:
            packages.insert(packages.index("docker.io") + 1, "docker-cli")
        return Plan(tuple(packages), (Command(install_command(packages)),))
    if distribution != "debian" or facts.mirror is None:
        lacking = ", ".join(part.value for part, name in chosen.items() if name is None)
        raise Unavailable(f"this machine's package sources have no {lacking}", MANUAL_REMEDY)
    packages = [name for part in parts for name in _DEBIAN[part]]
    install = Command(install_command(packages, LATER_SUITE))
    if LATER_SUITE in facts.suites:
        return Plan(tuple(packages), (install,))
    return Plan(tuple(packages), (*_add_later_suite(facts.mirror), Command(UPDATE), install))


def _own_package(part: Part, facts: AptFacts) -> str | None:
    for name in _PACKAGES[part]:
        if facts.candidates.get(name, (0, 0)) >= _MINIMUM[part]:
            return name
    return None


def _add_later_suite(mirror: str) -> tuple[WriteFile, WriteFile]:
    source = (
        "# Made by ./scripts/calyx up, for Compose and buildx, which Debian 12 lacks.\n"
        f"Types: deb\nURIs: {mirror}\nSuites: {LATER_SUITE}\nComponents: main\nSigned-By: {_KEYRING}\n"
    )
    pin = (
        "# Made by ./scripts/calyx up: nothing comes from this suite unless it is asked for by name.\n"
        f"Package: *\nPin: release n={LATER_SUITE}\nPin-Priority: 50\n"
    )
    # The pin comes first: an interruption between the two must not leave the suite unpinned.
    return WriteFile(PIN_FILE, pin), WriteFile(SOURCE_FILE, source)
