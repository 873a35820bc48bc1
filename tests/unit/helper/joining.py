"""A machine that joins: its engine and its programs are fakes, and everything that is asked of them is kept."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from scripts.helper.arguments import build_parser
from scripts.helper.commands import join
from scripts.helper.containers import Container
from scripts.helper.context import Context
from scripts.helper.one_off import Surroundings
from scripts.helper.pools import Pool, Pools
from scripts.helper.shell import Finished
from services.common.errors import CalyxError
from tests.unit.full_disk import full_disk
from tests.unit.helper.helper_fakes import FakeShell, FakeTime, Written, container

SERVICES = {
    "compose.worker.yaml": ["vpn", "server"],
    "compose.public.yaml": ["vpn", "server", "endpoint", "health"],
}


class FakeEngine:
    """Makes what Compose is told to, and runs the sidecar's own commands; containers are healthy once started."""

    def __init__(self, shell: FakeShell, folder: Path) -> None:
        self._shell, self._folder = shell, folder
        self.there: dict[str, Container] = {}
        self.kept: set[str] = set()
        self.ran: list[str] = []
        self.role = "worker"
        self.enrolment: Finished | None = None
        self.fate: dict[str, dict[str, Any]] = {}
        self.lines: dict[str, str] = {}
        self.full_disk_at = ""
        self.effects = ExitStack()
        shell.when["docker compose --ansi"] = self._compose

    def _compose(self) -> None:
        words = self._shell.calls[-1].split()
        project = words[words.index("--project-name") + 1]
        if "down" in words:
            self.there.clear()
        elif "create" in words:
            services = next(made for name, made in SERVICES.items() if str(self._folder / name) in words)
            if "--profile endpoint" in self._shell.calls[-1]:
                services = [*services, "endpoint"]
            if words[-1] == "vpn":
                services = ["vpn"]
            for service in services:
                if service != "server" or "server=0" not in words:
                    self.there.setdefault(service, container(service, "created", health="starting"))
            self.kept |= {f"{project}_weights"}
            if "compose.worker.yaml" in self._shell.calls[-1]:
                self.kept |= {f"{project}_vpn-identity"}

    def containers(self, project: str) -> list[Container]:
        return list(self.there.values())

    def volumes(self, project: str) -> list[str]:
        return sorted(self.kept)

    def remove_volumes(self, names: set[str]) -> None:
        assert not self.there, "a volume in use cannot be removed"
        self.kept -= names

    def run_once(self, image: str, command: list[str], surroundings: Surroundings) -> Finished:
        self.ran.append(command[-1])
        if command[-1] == "services.vpn.leaving":
            return Finished(0, "")
        place = {"node": "attic", "address": "10.77.0.2", "authority": "203.0.113.7:7443", "role": self.role}
        return self.enrolment or Finished(0, json.dumps(place))

    def start(self, identity: str) -> None:
        service = identity.removeprefix("id-")
        ports = ((8000, 8000), (8080, 8080)) if service == "vpn" else ()
        self.there[service] = container(service, **({"ports": ports} | self.fate.get(service, {})))
        if service == self.full_disk_at:
            self.effects.enter_context(full_disk())

    def last_log_lines(self, identity: str, count: int) -> list[str]:
        return self.lines.get(identity.removeprefix("id-"), "").splitlines()[-count:]

    def runtimes(self) -> frozenset[str]:
        return frozenset()

    def version(self) -> str:
        return "26.1.5"

    def root_dir(self) -> str:
        return str(self._folder)


class Bench:
    """A machine that joins by what the command line says."""

    def __init__(self, folder: Path) -> None:
        self.shell = FakeShell({"docker compose": ""})
        self.engine = FakeEngine(self.shell, folder)
        self.steps = Written()
        self.context = Context(
            "calyx",
            environment={"XDG_STATE_HOME": str(folder / "state")},
            root=folder,
            steps=self.steps,
            shell=self.shell,
            tun=Path("/dev/null"),  # a device, as the kernel's own
            units=folder,
        )
        self.pools = Pools(folder / "state/calyx/pools")
        self.prepared = 0

    def pool(self, *words: str) -> Pool:
        parsed = build_parser().parse_args(["join", *words])
        return join.new_pool(vars(parsed), None, {})

    def join(self, *words: str) -> None:
        pool = self.pool(*words)
        token = build_parser().parse_args(["join", *words]).token
        options = join.JoinOptions(token, yes=True, timeout=100)
        with self.engine.effects:
            join.run(self.context.of(pool), pool, options, self._prepare, FakeTime().timer)

    def _prepare(self, context: Context, *, yes: bool) -> FakeEngine:
        self.prepared += 1
        return self.engine

    @property
    def composed(self) -> list[str]:
        """What Compose was asked to do, without the files."""
        return [call.rpartition(".yaml ")[2] for call in self.shell.calls if ".yaml " in call]

    def refuses(self, kind: type[CalyxError], *words: str) -> str:
        """Return why a join fails, which leaves nothing that was not there before."""
        there, kept, names = dict(self.engine.there), set(self.engine.kept), self.pools.names()
        with pytest.raises(kind) as refusal:
            self.join(*words)
        assert (self.engine.there, self.engine.kept, self.pools.names()) == (there, kept, names)
        return str(refusal.value)
