"""The Docker engine, through Docker's SDK: the only file that imports ``docker``.

Compose creates and removes containers; everything else about them (finding, starting, health, logs) happens
here, by the labels that Compose gives them.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Self

import docker
import docker.errors
import requests.exceptions
import urllib3.exceptions
from docker.context import ContextAPI

from scripts.helper.containers import Container
from scripts.helper.failures import explain
from scripts.helper.one_off import Surroundings
from scripts.helper.shell import Finished
from services.common.errors import Broken, Unavailable

_PROJECT = "com.docker.compose.project"
_ONE_OFF = "com.docker.compose.oneoff"
_ANSWER_LIMIT = 60
_REGISTRY_LIMIT = 20


class NoEngine(Unavailable):
    """Nothing answers at the place where this machine's own engine would."""


class Engine:
    """A connected engine.

    Args:
        client: a ``docker.DockerClient``.
        registry_client: the same with a short limit, for questions that the engine passes on to a registry.
    """

    def __init__(self, client: Any, registry_client: Any) -> None:
        self._client = client
        self._registry_client = registry_client

    @classmethod
    def connect(cls, environment: Mapping[str, str]) -> Self:
        """Find the engine as Docker's client does: ``DOCKER_HOST``, then the current context.

        Raises:
            NoEngine: nothing answers at the default place; an engine can be installed or started.
            Unavailable: the place was chosen by the user and does not answer, or refuses this user.
        """
        host = environment.get("DOCKER_HOST") or _context_host()
        chosen = bool(host) and not str(host).endswith("/var/run/docker.sock")
        try:
            client = _client(environment, host, _ANSWER_LIMIT)
            client.ping()
            return cls(client, _client(environment, host, _REGISTRY_LIMIT))
        except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
            text = _innermost(error)
            if "Permission denied" in text:
                raise Unavailable(
                    "this user may not use the Docker engine",
                    "add the user to the group 'docker' and log in again, or run this by sudo",
                ) from error
            if chosen:
                raise Unavailable(
                    f"no Docker engine answers at {host}",
                    "start it, or choose another by DOCKER_HOST or `docker context use`",
                ) from error
            raise NoEngine(
                "no Docker engine answers", "./scripts/calyx up installs and starts one"
            ) from error

    def version(self) -> str:
        """Return the engine's version, such as 26.1.5."""
        with _doing("asking for the engine's version"):
            return str(self._client.version()["Version"])

    def runtimes(self) -> frozenset[str]:
        """Return the names of the container runtimes; ``nvidia`` among them means GPUs can be handed over."""
        with _doing("asking what the engine offers"):
            return frozenset(self._client.info().get("Runtimes") or ())

    def root_dir(self) -> str:
        """Return the folder of images and volumes, on the engine's machine."""
        with _doing("asking where the engine keeps its files"):
            return str(self._client.info()["DockerRootDir"])

    def containers(self, project: str) -> list[Container]:
        """Return the services' containers of a Compose project, also stopped ones."""
        with _doing("listing containers"):
            found = self._client.containers.list(
                all=True,
                ignore_removed=True,
                filters={"label": [f"{_PROJECT}={project}", f"{_ONE_OFF}=False"]},
            )
            return [Container.of(item.attrs) for item in found]

    def volumes(self, project: str) -> list[str]:
        """Return the names of a Compose project's volumes."""
        with _doing("listing volumes"):
            found = self._client.volumes.list(filters={"label": f"{_PROJECT}={project}"})
            return sorted(str(item.name) for item in found)

    def start(self, identity: str) -> None:
        """Start a container; nothing if it runs."""
        with _doing("starting a container"):
            self._client.containers.get(identity).start()

    def restart(self, identity: str) -> None:
        """Stop a container within its grace period and start it."""
        with _doing("restarting a container"):
            item = self._client.containers.get(identity)
            item.stop()
            item.start()

    def stop(self, identity: str, seconds: int) -> None:
        """Ask a container to end and wait for it, by force after so many seconds; it stays stopped, also when the
        machine starts again."""
        with _doing("stopping a container"):
            self._client.containers.get(identity).stop(timeout=seconds)

    def execute(self, identity: str, command: Sequence[str]) -> Finished:
        """Run a command in a container that runs; its output is standard output, or the errors if it failed."""
        with _doing("running a command in a container"):
            code, (out, errors) = self._client.containers.get(identity).exec_run(list(command), demux=True)
        text = (out if code == 0 else errors) or b""
        return Finished(int(code), text.decode(errors="replace"))

    def execute_into(self, identity: str, command: Sequence[str], file: BinaryIO) -> Finished:
        """Run a command in a container that runs, its standard output into ``file``; the errors are the output."""
        with _doing("running a command in a container"):
            process = self._client.api.exec_create(identity, list(command))["Id"]
            errors = b""
            for out, err in self._client.api.exec_start(process, stream=True, demux=True):
                file.write(out or b"")
                errors += err or b""
            code = int(self._client.api.exec_inspect(process)["ExitCode"])
        return Finished(code, errors.decode(errors="replace"))

    def run_once(self, image: str, command: Sequence[str], surroundings: Surroundings) -> Finished:
        """Run a command in a container of its own that is removed afterwards."""
        volumes = {name: {"bind": place, "mode": "rw"} for name, place in surroundings.volumes.items()}
        with _doing("running a command in a new container"):
            item = self._client.containers.create(
                image,
                list(command),
                environment=dict(surroundings.environment),
                volumes=volumes,
                user=surroundings.user,
            )
            try:
                if surroundings.files:
                    item.put_archive("/", surroundings.archive())
                item.start()
                code = int(item.wait()["StatusCode"])
                text = item.logs(stdout=code == 0, stderr=code != 0).decode(errors="replace")
            finally:
                item.remove(force=True)
        return Finished(code, text)

    def remove_volumes(self, names: Iterable[str]) -> None:
        """Remove volumes that no container uses."""
        with _doing("removing volumes"):
            for name in names:
                self._client.volumes.get(name).remove()

    def last_log_lines(self, identity: str, count: int) -> list[str]:
        """Return the newest lines that a container wrote, the latest last."""
        with _doing("reading a log"):
            raw = self._client.containers.get(identity).logs(tail=count)
            return str(raw.decode(errors="replace").strip()).splitlines()

    def log_lines(self, identity: str, *, tail: int, follow: bool) -> Iterator[str]:
        """Yield lines of a container's log, each beginning with its RFC 3339 time and a space."""
        with _doing("reading a log"):
            chunks = self._client.containers.get(identity).logs(
                stream=True, follow=follow, tail=tail, timestamps=True
            )
            rest = b""
            for chunk in chunks:
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield line.decode(errors="replace")
            if rest:
                yield rest.decode(errors="replace")

    def has_image(self, name: str) -> bool:
        """Whether an image of this name and tag is on the machine."""
        with _doing(f"looking for the image {name}"):
            try:
                self._client.images.get(name)
            except docker.errors.ImageNotFound:
                return False
            return True

    def registry_offers(self, name: str) -> bool:
        """Whether a registry answers within 20 s and has the image."""
        try:
            self._registry_client.images.get_registry_data(name)
        except (docker.errors.DockerException, requests.exceptions.RequestException):
            return False
        return True

    def pull(self, name: str, on_progress: Callable[[str], None]) -> None:
        """Fetch an image; ``on_progress`` gets a few words at a time."""
        repository, _, tag = name.rpartition(":")
        with _doing(f"pulling {name}"):
            for event in self._client.api.pull(repository, tag=tag, stream=True, decode=True):
                if "error" in event:
                    raise explain(f"pulling {name}", str(event["error"]))
                on_progress(f"{event.get('status', '')} {event.get('progress', '')}".strip())

    def import_image(self, name: str, archive: Path, changes: list[str]) -> None:
        """Make an image of one layer from a tar archive of a file system.

        Args:
            name: repository and tag.
            archive: a tar file of it.
            changes: Dockerfile instructions such as ``LABEL a=b``.
        """
        repository, _, tag = name.rpartition(":")
        with _doing(f"importing {name}"):
            answer = self._client.api.import_image_from_file(
                str(archive), repository=repository, tag=tag, changes=changes
            )
            for line in str(answer).splitlines():
                if line.strip() and "error" in (event := json.loads(line)):
                    raise explain(f"importing {name}", str(event["error"]))


def _client(environment: Mapping[str, str], host: str | None, limit: int) -> Any:
    """Make a client whose calls take at most ``limit`` seconds each."""
    if host and not environment.get("DOCKER_HOST"):
        return docker.DockerClient(base_url=host, version="auto", timeout=limit)
    return docker.from_env(environment=dict(environment), timeout=limit)


def _context_host() -> str | None:
    """Return the address that ``docker context use`` chose, None when it cannot be read."""
    try:
        context = ContextAPI.get_current_context()
        return str(context.Host) if context and context.Host else None
    except (docker.errors.DockerException, OSError, ValueError, KeyError):
        return None


@contextmanager
def _doing(what: str) -> Iterator[None]:
    """Turn the SDK's errors into ours."""
    try:
        yield
    # An answer of the engine, though also a requests' error: first.
    except docker.errors.APIError as error:
        raise explain(what, str(error.explanation or error)) from error
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, ConnectionError) as error:
        raise Unavailable(
            f"{what}: the Docker engine stopped answering",
            "see that it runs (./scripts/calyx doctor), then run the command again",
        ) from error
    except docker.errors.DockerException as error:
        raise Broken(f"{what}: {error}") from error


def _innermost(error: BaseException) -> str:
    """Return the text of the whole chain; the SDK hides the reason some levels down."""
    texts: list[str] = []
    current: BaseException | None = error
    while current is not None:
        texts.append(str(current))
        current = current.__cause__ or current.__context__
    return " | ".join(texts)
