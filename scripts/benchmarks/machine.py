"""Machines of a pool, several on one engine: each a Compose project on its own network, with its own helper state."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from services.common.errors import Unavailable

SEED_ADDRESS = "172.17.0.1"
"""This machine as containers of every network reach it: the address of the engine's default bridge."""

_EXACT = {"CALYX_DTYPE": "float32", "CALYX_ENDPOINT_DTYPE": "float32"}
"""Else rounding would change the text after a failover, and an answer of another length cannot be compared."""


@dataclass(frozen=True)
class Machine:
    """One node.

    Attributes:
        root: the repository.
        project: Compose project name.
        state: folder for what its helper remembers.
        ports: variable → port of this machine.
    """

    root: Path
    project: str
    state: Path
    ports: Mapping[str, int] = field(default_factory=dict)

    @property
    def endpoint_port(self) -> int:
        """Return the port of the loopback that leads to the pool's endpoint."""
        return self.ports["CALYX_ENDPOINT_PORT"]

    def calyx(self, *words: str) -> str:
        """Run the helper and return what it wrote.

        Raises:
            Unavailable: it failed; with its last line.
        """
        return "\n".join(line for _, line in self.timed(*words))

    def timed(self, *words: str) -> list[tuple[float, str]]:
        """Run the helper; return its lines, each with the seconds from the start at which it was written.

        Raises:
            Unavailable: as ``calyx``.
        """
        begin = time.monotonic()
        lines = []
        with self.started(*words) as process:
            for line in process.stdout or ():
                lines.append((time.monotonic() - begin, line.rstrip()))
            code = process.wait()
        if code:
            said = lines[-1][1] if lines else "no output"
            raise Unavailable(f"measuring calyx {words[0]} on {self.project}: {said}")
        return lines

    def started(self, *words: str) -> "subprocess.Popen[str]":
        """Start the helper, with its errors among its output."""
        return subprocess.Popen(
            [self.root / "scripts" / "calyx", "--project", self.project, *words],
            cwd=self.root,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def container(self, service: str) -> str:
        """Return the id of a service's container.

        Raises:
            Unavailable: there is none.
        """
        labels = [f"com.docker.compose.project={self.project}", f"com.docker.compose.service={service}"]
        filters = [word for label in labels for word in ("--filter", f"label={label}")]
        found = docker("ps", "--all", "--quiet", "--no-trunc", *filters).split()
        if len(found) != 1:
            raise Unavailable(f"{self.project} has no container of {service}")
        return found[0]

    def execute(self, service: str, *command: str) -> str:
        """Run a command in a service's container and return its output; raises as ``docker``."""
        return docker("exec", self.container(service), *command)

    def leave(self) -> None:
        """Leave the pool and remove everything; says what could not be removed, and raises nothing."""
        try:
            if any(self.state.glob("calyx/pools/*/pool.json")):
                self.calyx("stop", "--purge")
        except Unavailable as error:
            sys.stderr.write(f"{error}\nremove what is left by: docker compose -p {self.project} down -v\n")

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name != "COMPOSE_PROJECT_NAME"}
        ports = {name: str(port) for name, port in self.ports.items()}
        return inherited | ports | _EXACT | {"XDG_STATE_HOME": str(self.state)}


@contextmanager
def machines(root: Path, prefix: str, names: Sequence[str]) -> Iterator[list[Machine]]:
    """Give machines that are in no pool yet, the first one with the ports of a seed; remove them whatever happens.

    Args:
        root: the repository.
        prefix: of their projects' names.
        names: one for each machine.
    """
    folder = Path(tempfile.mkdtemp(prefix="calyx-bench-"))
    made = []
    for number, name in enumerate(names):
        variables = ["CALYX_ENDPOINT_PORT", "CALYX_GRPC_PORT", "CALYX_HEALTH_PORT"]
        variables += ["CALYX_AUTHORITY_PORT", "CALYX_NEBULA_PORT"] if number == 0 else []
        ports = dict(zip(variables, free_ports(len(variables)), strict=True))
        made.append(Machine(root, f"{prefix}-{name}", folder / name, ports))
    try:
        yield made
    finally:
        for machine in reversed(made):
            machine.leave()
        shutil.rmtree(folder, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Return ports that nothing on this machine listens on, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


def docker(*words: str) -> str:
    """Run Docker's client and return its output.

    Raises:
        Unavailable: it failed; with its last line.
    """
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no output"]
        raise Unavailable(f"measuring docker {words[0]}: {lines[-1]}")
    return done.stdout
