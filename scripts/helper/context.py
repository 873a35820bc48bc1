"""What every command is given: where the stack is, its name, and the hands to work with."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scripts.helper.progress import Steps
from scripts.helper.shell import HostShell, Shell

ROOT = Path(__file__).resolve().parents[2]
"""The folder of ``compose.yaml``."""


@dataclass(frozen=True)
class Context:
    """The surroundings of one run.

    Attributes:
        project: Compose project name.
        environment: the process's variables with those of ``.env``.
        root: the folder of ``compose.yaml``.
        steps: where progress goes.
        shell: runs other programs.
    """

    project: str
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    root: Path = ROOT
    steps: Steps = field(default_factory=Steps)
    shell: Shell = field(default_factory=HostShell)

    @property
    def state_dir(self) -> Path:
        """The user's folder for logs of what this helper ran."""
        base = self.environment.get("XDG_STATE_HOME")
        return (Path(base) if base else Path.home() / ".local" / "state") / "calyx"

    @property
    def compose_log(self) -> Path:
        """Everything Compose and BuildKit wrote in the latest run for this project."""
        return self.state_dir / f"{self.project}.log"
