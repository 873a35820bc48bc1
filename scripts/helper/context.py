"""What every command is given: where the stack is, its name, and the hands to work with."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from scripts.helper.checks.machine import TUN
from scripts.helper.pools import Pool, Pools
from scripts.helper.progress import Steps
from scripts.helper.shell import HostShell, Shell

ROOT = Path(__file__).resolve().parents[2]
"""The folder of ``compose.yaml``."""

UNITS = Path("/etc/systemd/system")

DEFAULT_PROJECT = "calyx"
"""The ``name`` in ``compose.yaml``."""


def command_line(project: str, words: str) -> str:
    """Return how a person calls this helper for a project, as remedies say it."""
    named = "" if project == DEFAULT_PROJECT else f"--project {project} "
    return f"./scripts/calyx {named}{words}"


@dataclass(frozen=True)
class Context:
    """The surroundings of one run.

    Attributes:
        project: Compose project name.
        pool: the pool whose node the project is, None for a stack that is on its own.
        environment: the process's variables with those of ``.env``.
        root: the folder of ``compose.yaml``.
        steps: where progress goes.
        shell: runs other programs.
        tun: the kernel's device for tunnels.
        units: where systemd finds its units.
    """

    project: str
    pool: Pool | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    root: Path = ROOT
    steps: Steps = field(default_factory=Steps)
    shell: Shell = field(default_factory=HostShell)
    tun: Path = TUN
    units: Path = UNITS

    def of(self, pool: Pool) -> "Context":
        """Return the same surroundings for a pool's node."""
        return replace(self, project=pool.project, pool=pool)

    @property
    def state_dir(self) -> Path:
        """The user's folder for logs of what this helper ran."""
        base = self.environment.get("XDG_STATE_HOME")
        return (Path(base) if base else Path.home() / ".local" / "state") / "calyx"

    @property
    def pools(self) -> Pools:
        """The pools that this machine is part of."""
        return Pools(self.state_dir / "pools")

    @property
    def compose_log(self) -> Path:
        """Everything Compose and BuildKit wrote in the latest run for this project."""
        return self.state_dir / f"{self.project}.log"
