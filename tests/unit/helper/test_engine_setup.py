import io
from pathlib import Path

import pytest

from scripts.helper.engine import NoEngine
from scripts.helper.install.changes import Changes
from scripts.helper.install.consent import asking
from scripts.helper.install.engine_setup import EngineSetup
from scripts.helper.shell import Finished
from services.common.errors import Broken, Refused, Unavailable
from tests.unit.helper.helper_fakes import FakeShell, FakeTerminal, FakeTime, Written

PLUGINS = {"docker compose version": "2.26.1", "docker buildx version": "buildx v0.13.1"}
PACKAGES = {
    "apt-get -o DPkg::Lock::Timeout=300 update": "",
    "apt-get -o DPkg::Lock::Timeout=300 install": "",
    "apt-get indextargets": "",
    "apt-cache policy": "docker.io:\n  Candidate: 26.1\ndocker-compose:\n  Candidate: 2.26\n"
    "docker-buildx:\n  Candidate: 0.13\n",
}


class Machine:
    """A machine whose engine answers from a certain moment on."""

    def __init__(self, folder: Path, shell: FakeShell, *, answers: bool, starts: bool = True) -> None:
        self.shell = shell
        self.time = FakeTime()
        self.steps = Written()
        self.answers = answers
        self.asked: list[str] = []
        self.log = folder / "install.log"
        if starts:
            self.time.on_sleep = self.start

    def start(self) -> None:
        self.answers = True

    def connect(self) -> str:
        if not self.answers:
            raise NoEngine("no Docker engine answers")
        return "the engine"

    def ensure(self, *, root: bool = True, systemd: bool = False) -> str:
        return EngineSetup(
            connect=self.connect,
            consent=self.asked.append,
            changes=Changes(self.shell, self.steps, self.log),
            distribution="debian",
            root=root,
            systemd=systemd,
            timer=self.time.timer,
        ).ensure()


def bare(**answers: str) -> FakeShell:
    """A machine with apt alone, whose installation brings everything."""
    shell = FakeShell({**PACKAGES, **answers}, installed="apt-get")

    def install() -> None:
        shell.answers |= PLUGINS
        shell.installed |= {"dockerd", "docker"}

    shell.when["apt-get -o DPkg::Lock::Timeout=300 install"] = install
    return shell


def test_where_everything_is_there_nothing_is_asked_or_done(tmp_path: Path) -> None:
    machine = Machine(tmp_path, FakeShell(PLUGINS), answers=True)
    assert machine.ensure(root=False) == "the engine"
    assert machine.asked == []
    assert machine.steps.text == ""


def test_a_bare_machine_gets_an_engine(tmp_path: Path) -> None:
    machine = Machine(tmp_path, bare(), answers=False)
    assert machine.ensure() == "the engine"
    assert machine.asked == [
        "No Docker engine answers. Install a Docker engine, Compose 2.20 or newer and buildx?"
    ]
    assert machine.shell.spawned == ["dockerd"]
    assert "packages: docker.io docker-compose docker-buildx" in machine.steps.text
    assert "install -y --no-install-recommends docker.io" in machine.log.read_text()
    assert machine.shell.environments[-3]["DEBIAN_FRONTEND"] == "noninteractive"


def test_an_engine_that_its_package_started_is_not_started_again(tmp_path: Path) -> None:
    machine = Machine(tmp_path, bare(), answers=False)
    machine.shell.when["apt-cache"] = machine.start
    machine.ensure()
    assert machine.shell.spawned == []


def test_an_installed_engine_is_only_started(tmp_path: Path) -> None:
    machine = Machine(tmp_path, FakeShell(PLUGINS, installed="dockerd"), answers=False)
    assert machine.ensure() == "the engine"
    assert machine.asked == ["The Docker engine does not run. Start it?"]
    assert machine.shell.spawned == ["dockerd"]
    assert not any(call.startswith("apt-get") for call in machine.shell.calls)


def test_systemd_starts_it_where_it_runs(tmp_path: Path) -> None:
    shell = FakeShell({**PLUGINS, "systemctl": ""}, installed="dockerd")
    machine = Machine(tmp_path, shell, answers=False)
    machine.ensure(systemd=True)
    assert "systemctl enable --now docker" in shell.calls
    assert shell.spawned == []


def test_a_missing_plugin_alone_is_installed_alone(tmp_path: Path) -> None:
    shell = bare()
    shell.answers["docker compose version"] = "2.26.1"
    machine = Machine(tmp_path, shell, answers=True)
    machine.ensure()
    assert machine.asked == ["The engine answers, but something is missing. Install buildx?"]
    assert "packages: docker-buildx\n" in machine.steps.text


def test_without_root_it_says_so(tmp_path: Path) -> None:
    machine = Machine(tmp_path, bare(), answers=False)
    with pytest.raises(Refused, match=r"installing a Docker engine, .* needs root — run this by sudo"):
        machine.ensure(root=False)
    assert not any(call.startswith("apt-get") for call in machine.shell.calls)


def test_without_apt_it_says_so(tmp_path: Path) -> None:
    machine = Machine(tmp_path, FakeShell(), answers=False)
    with pytest.raises(Unavailable, match="only Debian's and Ubuntu's packages are known"):
        machine.ensure()


def test_a_failed_installation_gives_the_reason_and_the_log(tmp_path: Path) -> None:
    shell = bare()
    shell.answers["apt-get -o DPkg::Lock::Timeout=300 install"] = Finished(
        100, "Reading…\nE: Could not get lock"
    )
    machine = Machine(tmp_path, shell, answers=False)
    with pytest.raises(
        Broken, match=r"running apt-get: E: Could not get lock — the whole output is in .*install.log"
    ):
        machine.ensure()


def test_a_client_that_does_not_see_the_new_plugins(tmp_path: Path) -> None:
    shell = FakeShell(PACKAGES, installed="apt-get docker")
    with pytest.raises(Broken, match=r"/usr/bin/docker does not find Compose .* after its installation"):
        Machine(tmp_path, shell, answers=False).ensure()


def test_an_engine_that_does_not_start(tmp_path: Path) -> None:
    machine = Machine(tmp_path, FakeShell(PLUGINS, installed="dockerd"), answers=False, starts=False)
    with pytest.raises(
        Unavailable, match=r"it did not answer in 90 s — /var/log/calyx-dockerd.log shows why"
    ):
        machine.ensure()


def test_yes_answers_beforehand() -> None:
    out = io.StringIO()
    asking(yes=True, stdin=io.StringIO(), stdout=out)("Install?")
    assert out.getvalue() == ""


def test_without_a_terminal_nobody_can_agree() -> None:
    with pytest.raises(Refused, match=r"Nobody is there to be asked — agree by \./scripts/calyx up --yes"):
        asking(yes=False, stdin=io.StringIO("y\n"), stdout=io.StringIO())("Install?")


@pytest.mark.parametrize(
    ("typed", "agreed"), [("y\n", True), ("YES\n", True), ("\n", False), ("no\n", False), ("", False)]
)
def test_a_person_decides(typed: str, agreed: bool) -> None:
    out = io.StringIO()
    consent = asking(yes=False, stdin=FakeTerminal(typed), stdout=out)
    if agreed:
        consent("Install?")
    else:
        with pytest.raises(Refused, match="nothing was installed"):
            consent("Install?")
    assert out.getvalue() == "Install? [y/N] "
