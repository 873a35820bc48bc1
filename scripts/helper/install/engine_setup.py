"""Make a Docker engine with Compose and buildx answer: find it, start it, or install it."""

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from scripts.helper.engine import NoEngine
from scripts.helper.failures import telling_line
from scripts.helper.install.apt import UPDATE, read_apt
from scripts.helper.install.changes import Changes
from scripts.helper.install.consent import Consent
from scripts.helper.install.plan import CANDIDATES, MANUAL_REMEDY, Part, Plan, WriteFile, plan_installation
from scripts.helper.stack import Timer
from scripts.helper.toolchain import read_toolchain
from services.common.errors import Broken, Refused, Unavailable

ENGINE_LOG = Path("/var/log/calyx-dockerd.log")
SYSTEMD = Path("/run/systemd/system")
_START_LIMIT = 90.0

E = TypeVar("E")


def distribution() -> str:
    """Return ``ID`` of ``/etc/os-release``, such as debian; empty when there is no such file."""
    try:
        return platform.freedesktop_os_release().get("ID", "")
    except OSError:
        return ""


@dataclass(frozen=True)
class EngineSetup(Generic[E]):
    """Everything needed to make an engine answer.

    Attributes:
        connect: returns a connected engine or raises NoEngine.
        consent: is asked before the machine changes.
        changes: changes it.
        distribution: ``ID`` of ``/etc/os-release``.
        root: whether this process may change the machine.
        systemd: whether systemd runs this machine's services.
        timer: makes the limit for the engine's start.
    """

    connect: Callable[[], E]
    consent: Consent
    changes: Changes
    distribution: str
    root: bool
    systemd: bool
    timer: Callable[[float], Timer] = Timer.starting

    def ensure(self) -> E:
        """Return an engine that answers and has both plugins; nothing is done when they are there.

        Raises:
            Refused: it needs root, or the person said no.
            Unavailable: it cannot be installed here, or does not start.
        """
        engine = self._try()
        missing = self._missing_plugins()
        if engine is not None and not missing:
            return engine
        if engine is None and self.changes.shell.find("dockerd") is None:
            missing = [Part.ENGINE, *missing]
        self.consent(_question(missing, starting=engine is None))
        if not self.root:
            raise Refused(
                f"{_task(missing, starting=engine is None)} needs root",
                f"run this by sudo, or {MANUAL_REMEDY}",
            )
        if missing:
            self._install(missing)
        if engine is None:
            engine = self._try() or self._start()
        return engine

    def _try(self) -> E | None:
        try:
            return self.connect()
        except NoEngine:
            return None

    def _missing_plugins(self) -> list[Part]:
        tools = read_toolchain(self.changes.shell)
        missing = [] if tools.compose_fits else [Part.COMPOSE]
        return missing if tools.buildx else [*missing, Part.BUILDX]

    def _install(self, missing: list[Part]) -> None:
        self.changes.steps.step(f"Installing {_listed(missing)}")
        if self.changes.shell.find("apt-get") is None:
            raise Unavailable("only Debian's and Ubuntu's packages are known here", MANUAL_REMEDY)
        self.changes.run(UPDATE)
        plan = plan_installation(missing, self.distribution, read_apt(self.changes.shell, CANDIDATES))
        self.changes.steps.detail(f"packages: {' '.join(plan.packages)}")
        self._carry_out(plan)
        still = self._missing_plugins()
        if still:
            client = self.changes.shell.find("docker") or "docker"
            raise Broken(
                f"{client} does not find {_listed(still)} after its installation",
                f"is that client another one than /usr/bin/docker? Remove it, or {MANUAL_REMEDY}",
            )

    def _carry_out(self, plan: Plan) -> None:
        for action in plan.actions:
            if isinstance(action, WriteFile):
                self.changes.write(action.path, action.text)
            else:
                self.changes.run(action.argv)

    def _start(self) -> E:
        self.changes.steps.step("Starting the Docker engine")
        if self.systemd:
            finished = self.changes.shell.run(["systemctl", "enable", "--now", "docker"], limit=_START_LIMIT)
            reason, hint = finished.output, "journalctl -u docker shows why"
        else:
            self.changes.shell.spawn(["dockerd"], ENGINE_LOG)
            reason, hint = "", f"{ENGINE_LOG} shows why"
        found: list[E] = []

        def answers() -> bool:
            engine = self._try()
            found.extend([engine] if engine is not None else [])
            return engine is not None

        if not self.timer(_START_LIMIT).until(answers):
            said = telling_line(reason) if reason else f"it did not answer in {_START_LIMIT:.0f} s"
            raise Unavailable(f"starting the Docker engine: {said}", hint)
        return found[0]


def is_root() -> bool:
    """Whether this process may change the machine."""
    return os.geteuid() == 0


def _listed(parts: list[Part]) -> str:
    names = [part.value for part in parts]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _task(missing: list[Part], *, starting: bool) -> str:
    return f"installing {_listed(missing)}" if missing else "starting the Docker engine" if starting else ""


def _question(missing: list[Part], *, starting: bool) -> str:
    if not missing:
        return "The Docker engine does not run. Start it?"
    reason = "No Docker engine answers." if starting else "The engine answers, but something is missing."
    return f"{reason} Install {_listed(missing)}?"
