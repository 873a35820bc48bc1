"""A stack under a name of its own, and what tests do with it: the helper's commands, HTTP, WebSocket, containers."""

import json
import os
import re
import secrets
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import docker
import docker.errors
import httpx
import psutil
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed
from websockets.sync.client import ClientConnection, connect

from scripts.helper.context import UNITS
from services.common.settings import SECTIONS, StackSettings

ROOT = Path(__file__).resolve().parents[3]
MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
DHT_PREFIX = "SmolLM2-135M-Instruct-hf"
BLOCKS = 30
PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"
_PREFIX = "calyx-test"
_FIRST_UP = 1800.0
_COMMAND = 600.0

T = TypeVar("T")


@dataclass(frozen=True)
class Finished:
    """How a program ended, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The error, which must be one line and no more."""
        assert self.code == 1, self
        line, rest = self.err.split("\n", 1)
        assert rest == "", self.err
        assert line.startswith("error: ")
        assert " — " in line, "an error says what to do"
        return line


def run(
    command: Sequence[str | Path], environment: Mapping[str, str] | None = None, limit: float = _COMMAND
) -> Finished:
    """Run a program with nothing to read, for at most ``limit`` seconds."""
    done = subprocess.run(
        list(map(str, command)),
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=limit,
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def eventually(check: Callable[[], T], limit: float = 180.0) -> T:
    """Return what ``check`` returns as soon as it fails no assertion and reaches whom it asks."""
    retrying = Retrying(
        retry=retry_if_exception_type((AssertionError, OSError, httpx.TransportError)),
        wait=wait_fixed(0.5),
        stop=stop_after_delay(limit),
        reraise=True,
    )
    return retrying(check)


def free_port() -> int:
    """Return a port of the loopback that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _settings(**given: object) -> dict[str, str]:
    """Return this process's environment with ``given`` settings, and without those that change what runs.

    An empty variable counts as unset, and wins over the file ``.env`` that a developer may have.
    """
    silent = {v for section in SECTIONS if section is not StackSettings for v in section.variables().values()}
    return {
        **{name: value for name, value in os.environ.items() if name != "COMPOSE_PROJECT_NAME"},
        **dict.fromkeys(silent, ""),
        # What health and the endpoint see shall not be old when a test asks for it.
        "CALYX_ANNOUNCE_PERIOD": "5",
        "CALYX_HEALTH_UPDATE_PERIOD": "2",
        **{name: str(value) for name, value in given.items()},
    }


@dataclass
class Pool:
    """A Compose project; its name says which process it belongs to, so that leftovers can be told.

    Attributes:
        settings: variables for the helper, for Compose and for the containers.
        files: what the project is made of.
    """

    settings: dict[str, object] = field(default_factory=dict)
    files: tuple[str, ...] = ("compose.yaml",)
    project: str = field(default_factory=lambda: f"{_PREFIX}-{os.getpid()}-{secrets.token_hex(3)}")
    endpoint_port: int = field(default_factory=free_port)
    grpc_port: int = field(default_factory=free_port)
    health_port: int = field(default_factory=free_port)
    prometheus_port: int = field(default_factory=free_port)

    @property
    def environment(self) -> dict[str, str]:
        """What programs of this pool are run with."""
        ports = {
            "CALYX_ENDPOINT_PORT": self.endpoint_port,
            "CALYX_GRPC_PORT": self.grpc_port,
            "CALYX_HEALTH_PORT": self.health_port,
            "CALYX_PROMETHEUS_PORT": self.prometheus_port,
        }
        return _settings(**ports | self.settings)

    @property
    def endpoint(self) -> str:
        """Address of the endpoint."""
        return f"127.0.0.1:{self.endpoint_port}"

    @property
    def grpc(self) -> str:
        """Address of the endpoint for gRPC."""
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def health(self) -> str:
        """Address of the health page."""
        return f"127.0.0.1:{self.health_port}"

    @property
    def prometheus(self) -> str:
        """Address of Prometheus, in a stack that has it."""
        return f"127.0.0.1:{self.prometheus_port}"

    # Commands.

    def calyx(self, *arguments: str, limit: float = _COMMAND, **settings: object) -> Finished:
        """Run the helper for this project."""
        given = {name: str(value) for name, value in settings.items()}
        return run(
            [ROOT / "scripts/calyx", "--project", self.project, *arguments], self.environment | given, limit
        )

    def up(self, *arguments: str, limit: float = _FIRST_UP) -> Finished:
        """Run ``up``, which must succeed."""
        done = self.calyx("up", "--yes", *arguments, limit=limit)
        assert done.code == 0, done.err
        return done

    def compose(self, *arguments: str) -> Finished:
        """Run Docker Compose on the project's files, without the helper; it must succeed."""
        files = [part for name in self.files for part in ("--file", name)]
        command = ["docker", "compose", "--project-name", self.project, "--project-directory", ".", *files]
        done = run([*command, *arguments], self.environment)
        assert done.code == 0, done.err
        return done

    # Applications.

    @contextmanager
    def http(self, limit: float = 120.0) -> Iterator[httpx.Client]:
        """Open a client that no proxy of the environment comes between."""
        with httpx.Client(trust_env=False, timeout=limit) as client:
            yield client

    def get(self, address: str, path: str) -> httpx.Response:
        """Fetch a page of ``endpoint`` or ``health``."""
        with self.http(20) as client:
            return client.get(f"http://{address}{path}")

    def post(self, **request: Any) -> dict[str, Any]:
        """Ask the endpoint by one POST with a JSON body; return its answer."""
        with self.http() as client:
            answer: dict[str, Any] = client.post(
                f"http://{self.endpoint}/api/v1/generate", json=request
            ).json()
            return answer

    @contextmanager
    def socket(self) -> Iterator[ClientConnection]:
        """Open a WebSocket of the endpoint."""
        address = f"ws://{self.endpoint}/api/v2/generate"
        # Pings are answered only while there is room for messages that the test has not read yet
        with connect(address, proxy=None, open_timeout=30, close_timeout=5, max_queue=None) as websocket:
            yield websocket

    def works(self) -> None:
        """Fail unless a fresh request is answered with text."""
        answer = self.post(inputs="The capital of France is", max_new_tokens=3)
        assert answer.get("ok"), answer
        assert "Paris" in answer["outputs"]

    def state(self) -> dict[str, Any]:
        """Return what the health service says about the bundled model."""
        models = self.get(self.health, "/api/v2/state").json()["models"]
        assert [model["name"] for model in models] == [MODEL]
        return dict(models[0])

    def targets(self) -> dict[str, str]:
        """Return whom Prometheus asks → whether it hears from them: up, down or unknown."""
        answer = self.get(self.prometheus, "/api/v1/targets").json()
        return {target["labels"]["job"]: target["health"] for target in answer["data"]["activeTargets"]}

    def is_watched(self) -> None:
        """Fail unless Prometheus hears from everybody whom it asks."""
        assert self.targets() == {"calyx-health": "up", "calyx-endpoint": "up"}

    # Containers.

    @property
    def client(self) -> docker.DockerClient:
        """The engine."""
        return docker.from_env(timeout=120)

    def containers(self) -> dict[str, Any]:
        """Return service → container, as the SDK has it now."""
        found = self.client.containers.list(all=True, filters={"label": f"{PROJECT_LABEL}={self.project}"})
        return {container.labels[SERVICE_LABEL]: container for container in found}

    def is_whole(self) -> bool:
        """Whether each of its containers runs and is healthy."""
        states = [container.attrs["State"] for container in self.containers().values()]
        return all(s["Running"] and s.get("Health", {}).get("Status") == "healthy" for s in states)

    def starts(self) -> dict[str, tuple[str, str]]:
        """Return service → (id, moment of its last start): what changes when a container was touched."""
        return {name: (c.id, c.attrs["State"]["StartedAt"]) for name, c in self.containers().items()}

    def read(self, service: str, path: str) -> str:
        """Return a file of a container."""
        code, output = self.containers()[service].exec_run(["cat", path])
        assert code == 0, output
        return str(output.decode())

    def save_logs(self, folder: Path) -> None:
        """Write what each container logged, and how it is, below ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, container in self.containers().items():
            (folder / f"{name}.log").write_bytes(container.logs(timestamps=True))
            (folder / f"{name}.json").write_text(json.dumps(container.attrs["State"], indent=2))

    def remove(self) -> None:
        """Remove every trace of the project but its images."""
        remove_project(self.client, self.project)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def remove_project(client: docker.DockerClient, project: str) -> None:
    """Remove a project's containers, networks and volumes, in whatever state they are."""
    label = {"label": f"{PROJECT_LABEL}={project}"}
    for container in client.containers.list(all=True, filters=label, ignore_removed=True):
        container.remove(force=True, v=True)
    for network in client.networks.list(filters=label):
        network.remove()
    for volume in client.volumes.list(filters=label):
        volume.remove(force=True)
    unit = UNITS / f"{project}.service"
    if unit.exists():  # a node that never came to `stop`
        run(["systemctl", "disable", unit.name])
        unit.unlink()


def sweep() -> None:
    """Remove what test runs left behind whose process has ended without doing so."""
    try:
        client = docker.from_env(timeout=60)
        containers = client.containers.list(all=True, ignore_removed=True)
        labels = [container.labels for container in containers]
        labels += [other.attrs["Labels"] or {} for other in (*client.networks.list(), *client.volumes.list())]
    except docker.errors.DockerException:
        return  # no engine, no leftovers
    for project in {label.get(PROJECT_LABEL, "") for label in labels}:
        match = re.fullmatch(rf"{_PREFIX}-(\d+)-[0-9a-f]+", project)
        if match and not psutil.pid_exists(int(match[1])):
            remove_project(client, project)
