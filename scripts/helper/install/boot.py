"""Brings a node back after a reboot, by a unit of systemd.

The engine starts containers again by itself, but in no order, and those that share the sidecar's network stay down
when they come before it (https://github.com/moby/moby/issues/50326). ``up`` starts what is missing, and leaves a
paused server alone.
"""

from dataclasses import dataclass
from pathlib import Path
from string import Template

from scripts.helper.failures import telling_line
from scripts.helper.install.changes import Changes

_LIMIT = 30.0

_UNIT = Template("""\
[Unit]
Description=Calyx node $project
Documentation=https://github.com/moby/moby/issues/50326
After=docker.service network-online.target
Wants=network-online.target
PartOf=docker.service

[Service]
Type=oneshot
RemainAfterExit=yes
TimeoutStartSec=infinity
Environment="HOME=$home" "XDG_STATE_HOME=$state"
ExecStart=$command

[Install]
WantedBy=docker.service
""")


@dataclass(frozen=True)
class BootUnit:
    """A node's unit.

    Attributes:
        project: the node's Compose project.
        arguments: the program and its arguments that bring the node back.
        changes: writes the file and tells systemd.
        systemd: whether systemd runs this machine's services.
        root: whether this process may change the machine.
        home: of the user whose node it is.
        state: where that user's programs keep their state.
        folder: where units are.
    """

    project: str
    arguments: tuple[str, ...]
    changes: Changes
    systemd: bool
    root: bool
    home: Path
    state: Path
    folder: Path

    @property
    def name(self) -> str:
        """The unit's name."""
        return f"{self.project}.service"

    def install(self) -> None:
        """Let systemd bring the node back; where that cannot be, say what to do after a reboot."""
        if not (self.systemd and self.root):
            why = "only root may tell systemd to" if self.systemd else "there is no systemd to do it"
            self.changes.steps.detail(f"after a reboot, bring this node back ({why}):")
            self.changes.steps.detail(" ".join(self.arguments))
            return
        command = " ".join(f'"{argument}"' for argument in self.arguments)
        text = _UNIT.substitute(project=self.project, home=self.home, state=self.state, command=command)
        (self.folder / self.name).write_text(text)
        for systemctl in (("systemctl", "daemon-reload"), ("systemctl", "enable", self.name)):
            answer = self.changes.shell.run(systemctl, limit=_LIMIT)
            if not answer.ok:
                self.changes.steps.detail(f"systemd did not take {self.name}: {telling_line(answer.output)}")
                return
        self.changes.steps.detail(f"after a reboot, {self.name} brings this node back")

    def remove(self) -> None:
        """Take the unit away, if it is there and this process may."""
        path = self.folder / self.name
        if self.root and path.exists():
            self.changes.shell.run(("systemctl", "disable", self.name), limit=_LIMIT)
            path.unlink()
            self.changes.shell.run(("systemctl", "daemon-reload"), limit=_LIMIT)
