"""What brings a node back after a reboot."""

from pathlib import Path

import pytest

from scripts.helper.install.boot import BootUnit
from scripts.helper.install.changes import Changes
from scripts.helper.shell import Finished
from tests.unit.helper.helper_fakes import FakeShell, Written


class Machine:
    """A machine with or without systemd, and a node of it."""

    def __init__(self, folder: Path, answers: dict[str, str | Finished] | None = None) -> None:
        self.shell = FakeShell({"systemctl": ""} if answers is None else answers)
        self.steps = Written()
        self.folder = folder

    def unit(self, *, systemd: bool = True, root: bool = True) -> BootUnit:
        return BootUnit(
            "calyx-home",
            ("/opt/my calyx/scripts/calyx", "--project", "calyx-home", "up", "--no-build"),
            Changes(self.shell, self.steps, self.folder / "install.log"),
            systemd=systemd,
            root=root,
            home=Path("/root"),
            state=Path("/root/.local/state"),
            folder=self.folder,
        )

    @property
    def file(self) -> Path:
        return self.folder / "calyx-home.service"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_systemd_brings_the_node_back_after_the_engine(machine: Machine) -> None:
    machine.unit().install()

    lines = machine.file.read_text().splitlines()
    assert 'ExecStart="/opt/my calyx/scripts/calyx" "--project" "calyx-home" "up" "--no-build"' in lines
    assert 'Environment="HOME=/root" "XDG_STATE_HOME=/root/.local/state"' in lines
    assert "After=docker.service network-online.target" in lines
    assert machine.shell.calls == ["systemctl daemon-reload", "systemctl enable calyx-home.service"]
    assert "calyx-home.service brings this node back" in machine.steps.text


@pytest.mark.parametrize(("systemd", "root"), [(False, True), (True, False)])
def test_otherwise_people_are_told_what_to_do(machine: Machine, systemd: bool, root: bool) -> None:
    machine.unit(systemd=systemd, root=root).install()

    assert not machine.file.exists()
    assert "--project calyx-home up --no-build" in machine.steps.text


def test_a_systemd_that_refuses_fails_nothing(tmp_path: Path) -> None:
    machine = Machine(tmp_path, {"systemctl": Finished(1, "Failed to connect to bus")})

    machine.unit().install()

    assert "systemd did not take calyx-home.service: Failed to connect to bus" in machine.steps.text


def test_who_leaves_takes_the_unit_away(machine: Machine) -> None:
    machine.unit().install()
    machine.unit().remove()

    assert not machine.file.exists()
    assert "systemctl disable calyx-home.service" in machine.shell.calls


def test_nothing_is_done_where_there_is_no_unit(machine: Machine) -> None:
    machine.unit().remove()

    assert machine.shell.calls == []
