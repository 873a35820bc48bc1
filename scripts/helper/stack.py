"""The stack's life: start what Compose made, in order, and wait until each service is healthy."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from tenacity import RetryError, Retrying, retry_if_result, wait_fixed

from scripts.helper.containers import Container, in_start_order, orphans, stale
from scripts.helper.context import command_line
from scripts.helper.progress import Steps
from services.common.errors import Unavailable

_MEANING = {
    "vpn": "the node's network is up",
    "authority": "authority lets nodes in",
    "bootstrap": "bootstrap peer is up",
    "server": "server holds its blocks",
    "endpoint": "endpoint reaches the whole model",
    "health": "health page is up",
    "prometheus": "Prometheus watches",
}
_ENDED = ("exited", "dead", "restarting")
_ERROR = re.compile(r"\b(ERROR|CRITICAL)\b")
_LINES_OF_A_START = 50
_LOADED = re.compile(r"\bloaded block\b.*?\bdone\W+(\d+)\W+of\W+(\d+)")


class ContainerEngine(Protocol):
    """What the stack needs from the engine; see :class:`scripts.helper.engine.Engine`."""

    def containers(self, project: str) -> list[Container]:
        """Return the project's containers."""

    def start(self, identity: str) -> None:
        """Start a container."""

    def restart(self, identity: str) -> None:
        """Stop and start a container."""

    def last_log_lines(self, identity: str, count: int) -> list[str]:
        """Return a container's newest lines, the latest last."""


class ContainerMaker(Protocol):
    """What the stack needs from Compose; see :class:`scripts.helper.compose.Compose`."""

    def create(self) -> None:
        """Make what is missing or changed."""

    def recreate(self, services: list[str]) -> None:
        """Make services' containers anew."""


@dataclass(frozen=True)
class Timer:
    """A limit for everything that is waited for in one command, with the clock it is measured by.

    Attributes:
        deadline: reading of ``now`` after which waiting ends.
        now: seconds, from any start.
        sleep: waits that many seconds.
    """

    deadline: float
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    @classmethod
    def starting(cls, limit: float) -> "Timer":
        """Return a timer that ends ``limit`` seconds from now."""
        return cls(time.monotonic() + limit)

    def until(self, ready: Callable[[], bool], *, every: float = 1.0) -> bool:
        """Ask every so many seconds until ``ready`` says so; False when the time is over first."""
        retrying = Retrying(
            retry=retry_if_result(lambda answer: not answer),
            wait=wait_fixed(every),
            stop=lambda _: self.now() >= self.deadline,
            sleep=self.sleep,
        )
        try:
            return bool(retrying(ready))
        except RetryError:
            return False


class Stack:
    """One project's containers.

    Args:
        engine: starts and inspects containers.
        compose: makes them.
        project: Compose project name.
        steps: where progress goes.
        timer: bounds the waiting.
        unawaited: services that shall be started, but whose health is not waited for.
        asleep: services that shall not be started.
    """

    def __init__(
        self,
        engine: ContainerEngine,
        compose: ContainerMaker,
        project: str,
        steps: Steps,
        timer: Timer,
        unawaited: frozenset[str] = frozenset(),
        asleep: frozenset[str] = frozenset(),
    ) -> None:
        self._engine = engine
        self._compose = compose
        self._project = project
        self._steps = steps
        self._timer = timer
        self._unawaited = unawaited
        self._asleep = asleep

    def bring_up(self) -> None:
        """Make, start and await every service; a service that runs well is left alone.

        Raises:
            Unavailable: a container ended, became unhealthy, or was not ready in time; with its last line.
        """
        self._compose.create()
        stranded = orphans(self._engine.containers(self._project))
        if stranded:
            names = [container.service for container in stranded]
            self._steps.step(f"Making anew what lost its network: {', '.join(names)}")
            self._compose.recreate(names)
        waited = _Waiting()

        def all_ready() -> bool:
            containers = self._awake()
            if not containers:
                raise Unavailable("the containers are gone", f"run {command_line(self._project, 'up')} again")
            for container in containers:
                self._attend(container, containers, waited)
            return waited.ready >= {container.service for container in containers}

        if not self._timer.until(all_ready):
            for container in self._awake():
                if not container.ready:
                    raise self._failure(container, "was not ready in time (--timeout)")

    def _awake(self) -> list[Container]:
        found = self._engine.containers(self._project)
        return [container for container in in_start_order(found) if container.service not in self._asleep]

    def _attend(self, container: Container, every: list[Container], waited: "_Waiting") -> None:
        """Take a container one step on: start it, see that it did not end, or note that it is ready."""
        service = container.service
        if service in waited.ready:
            return
        if service not in waited.restarts:
            present = {c.service for c in every}
            started = present & set(container.only_started)
            healthy = present & set(container.depends_on) - started
            if not (healthy <= waited.ready and started <= waited.restarts.keys()):
                return
            self._start(container, every)
            waited.restarts[service] = container.restarts if container.state == "running" else 0
            if service in self._unawaited:
                waited.ready.add(service)
        elif container.ready:
            waited.ready.add(service)
            self._steps.step(f"{service}: {_MEANING.get(service, 'is up')}")
        else:
            self._watch(container, waited)

    def _start(self, container: Container, every: list[Container]) -> None:
        if container.state != "running":
            self._engine.start(container.identity)
        elif container.health == "unhealthy" or container in stale(every):
            self._steps.step(f"Restarting {container.service}, which ran but did not work")
            self._engine.restart(container.identity)

    def _watch(self, container: Container, waited: "_Waiting") -> None:
        service = container.service
        if container.state in _ENDED or container.restarts > waited.restarts[service]:
            raise self._failure(container, f"ended with exit code {container.exit_code}")
        if container.health == "unhealthy":
            raise self._failure(container, "is unhealthy")
        line = "".join(self._engine.last_log_lines(container.identity, 1))
        loaded = _LOADED.search(line)
        if loaded and waited.shown.get(service) != loaded[0]:
            waited.shown[service] = loaded[0]
            self._steps.begin(f"{service}: loaded block {loaded[1]} of {loaded[2]}")
        elif not loaded:
            self._steps.live(f"{service}: {line[:100]}" if line else f"waiting for {service}")

    def _failure(self, container: Container, what: str) -> Unavailable:
        lines = self._engine.last_log_lines(container.identity, _LINES_OF_A_START)
        # The engine may have started it again meanwhile, whose first lines say nothing of the failure
        line = next((one for one in reversed(lines) if _ERROR.search(one)), lines[-1] if lines else "")
        said = f": {line[:300]}" if line else ""
        return Unavailable(
            f"{container.service} {what}{said}",
            f"{command_line(self._project, f'logs {container.service}')} shows more",
        )


@dataclass
class _Waiting:
    """What was seen so far.

    Attributes:
        ready: services that were healthy.
        restarts: service → how often the engine had restarted it when waiting for it began.
        shown: service → its latest progress that was shown.
    """

    ready: set[str] = field(default_factory=set)
    restarts: dict[str, int] = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)
