"""The images that ours are built from: pulled, or made from Debian's packages where no registry answers."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from scripts.helper.install.apt import UPDATE, AptFacts, install_command, read_apt
from scripts.helper.install.changes import Changes
from scripts.helper.install.consent import Consent
from services.common.errors import Refused

BASE_IMAGES = {"debian:bookworm-slim": "bookworm", "debian:trixie-slim": "trixie"}
"""Names in the Dockerfiles → Debian's suite."""

_CHANGES = ["LABEL org.calyx.base=debootstrap", 'CMD ["bash"]']
_BUILDER = ("debootstrap", "debian-archive-keyring")
# Folders stay, since apt misses some of its own.
_EMPTIED = (
    "var/cache/apt",
    "var/lib/apt/lists",
    "var/log",
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
)
_SLIM_RULES = """\
# As in the published slim images: what a container never reads is not unpacked.
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/info/*
path-exclude /usr/share/locale/*
path-exclude /usr/share/man/*
"""


class ImageEngine(Protocol):
    """What base images need from the engine; see :class:`scripts.helper.engine.Engine`."""

    def has_image(self, name: str) -> bool:
        """Whether it is on the machine."""

    def registry_offers(self, name: str) -> bool:
        """Whether a registry answers and has it."""

    def pull(self, name: str, on_progress: Callable[[str], None]) -> None:
        """Fetch it."""

    def import_image(self, name: str, archive: Path, changes: list[str]) -> None:
        """Make it from a tar archive."""


class BaseImages:
    """Makes sure that every base image is on the machine.

    Args:
        engine: holds the images.
        changes: installs and runs debootstrap.
        consent: is asked before packages are installed.
        root: whether this process may run debootstrap.
    """

    def __init__(self, engine: ImageEngine, changes: Changes, consent: Consent, *, root: bool) -> None:
        self._engine = engine
        self._changes = changes
        self._consent = consent
        self._root = root

    def ensure(self) -> None:
        """Pull or make the missing ones.

        Raises:
            Refused: no registry answers, and making them needs root or was not allowed.
        """
        missing = [name for name in BASE_IMAGES if not self._engine.has_image(name)]
        if not missing:
            return
        if self._engine.registry_offers(missing[0]):
            for name in missing:
                self._changes.steps.step(f"Pulling {name}")
                self._engine.pull(name, self._changes.steps.live)
            return
        facts = self._prepare(missing)
        for name in missing:
            self._make(name, BASE_IMAGES[name], facts)

    def _prepare(self, missing: list[str]) -> AptFacts:
        names = " and ".join(missing)
        if not self._root or self._changes.shell.find("apt-get") is None:
            raise Refused(
                f"no registry offers {names}",
                "bring them by `docker load`, or run this as root on Debian or Ubuntu to make them",
            )
        if self._changes.shell.find("debootstrap") is None:
            self._consent(f"No registry offers {names}. Install debootstrap to make them here?")
            self._changes.steps.step("Installing debootstrap")
            self._changes.run(UPDATE)
            self._changes.run(install_command(_BUILDER))
        return read_apt(self._changes.shell, _BUILDER)

    def _make(self, name: str, suite: str, facts: AptFacts) -> None:
        self._changes.steps.step(f"Making {name} from Debian's packages, as no registry offers it")
        with tempfile.TemporaryDirectory(prefix="calyx-base-", dir="/var/tmp") as folder:
            root, archive = Path(folder, "root"), Path(folder, "root.tar")
            mirror = [facts.mirror] if facts.mirror else []
            self._changes.run(("debootstrap", "--variant=minbase", suite, str(root), *mirror))
            slim(root, suite, facts)
            self._changes.run(
                ("tar", "-C", str(root), "--numeric-owner", "--one-file-system", "-cf", str(archive), ".")
            )
            self._engine.import_image(name, archive, _CHANGES)
            self._changes.steps.detail(f"{archive.stat().st_size / 1e6:.0f} MB")


def slim(root: Path, suite: str, facts: AptFacts) -> None:
    """Take out of a fresh root file system what a container never reads, and name its package sources."""
    for name in _EMPTIED:
        for folder, _, files in os.walk(root / name):
            for file in files:
                if file != "copyright":
                    Path(folder, file).unlink()
    rules = root / "etc/dpkg/dpkg.cfg.d/calyx-slim"
    rules.parent.mkdir(parents=True, exist_ok=True)
    rules.write_text(_SLIM_RULES)
    if facts.mirror:
        lines = [f"deb {facts.mirror} {suite} main", f"deb {facts.mirror} {suite}-updates main"]
        if facts.security_mirror:
            lines.append(f"deb {facts.security_mirror} {suite}-security main")
        (root / "etc/apt/sources.list").write_text("\n".join(lines) + "\n")
