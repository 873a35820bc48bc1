"""The stack's life: start what Compose made, in order, and wait until each service is healthy."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tenacity import RetryError, Retrying, retry_if_result, wait_fixed

from scripts.helper.containers import Container, in_start_order, orphans, stale
from scripts.helper.progress import Steps
from services.common.errors import Unavailable

_MEANING = {
    "vpn": "the node's network is up",
    "bootstrap": "bootstrap peer is up",
    "server": "server holds its blocks",
    "endpoint": "endpoint has the whole model",
    "health": "health page is up",
}
_LOADED = re.compile(r"\bloaded block\b.*?\bdone\W+(\d+)\W+of\W+(\d+)")


class ContainerEngine(Protocol):
    """What the stack needs from the engine; see :class:`scripts.helper.engine.Engine`."""

    def containers(self, project: str) -> list[Container]:
        """Return the project's containers."""

    def start(self, identity: str) -> None:
        """Start a container."""

    def restart(self, identity: str) -> None:
        """Stop and start a container."""

    def last_log_line(self, identity: str) -> str:
        """Return a container's newest line."""


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
    """

    def __init__(
        self, engine: ContainerEngine, compose: ContainerMaker, project: str, steps: Steps, timer: Timer
    ) -> None:
        self._engine = engine
        self._compose = compose
        self._project = project
        self._steps = steps
        self._timer = timer

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
        for planned in in_start_order(self._engine.containers(self._project)):
            self._start(planned.service)
            self._await(planned.service)

    def _start(self, service: str) -> None:
        every = self._engine.containers(self._project)
        container = _named(every, service)
        if container.state != "running":
            self._engine.start(container.identity)
        elif container.health == "unhealthy" or container in stale(every):
            self._steps.step(f"Restarting {service}, which ran but did not work")
            self._engine.restart(container.identity)

    def _await(self, service: str) -> None:
        before = self._look(service)
        if before.ready:
            self._steps.step(f"{service}: {_MEANING.get(service, 'is up')}")
            return
        shown = ""

        def ready() -> bool:
            nonlocal shown
            container = self._look(service)
            if container.ready:
                return True
            line = self._engine.last_log_line(container.identity)
            if container.state in ("exited", "dead", "restarting") or container.restarts > before.restarts:
                raise self._failure(service, f"ended with exit code {container.exit_code}", line)
            if container.health == "unhealthy":
                raise self._failure(service, "is unhealthy", line)
            if (loaded := _LOADED.search(line)) and loaded[0] != shown:
                shown = loaded[0]
                self._steps.begin(f"{service}: loaded block {loaded[1]} of {loaded[2]}")
            elif not loaded:
                self._steps.live(f"{service}: {line[:100]}" if line else f"waiting for {service}")
            return False

        if not self._timer.until(ready):
            line = self._engine.last_log_line(before.identity)
            raise self._failure(service, "was not ready in time (--timeout)", line)
        self._steps.step(f"{service}: {_MEANING.get(service, 'is up')}")

    def _look(self, service: str) -> Container:
        return _named(self._engine.containers(self._project), service)

    def _failure(self, service: str, what: str, line: str) -> Unavailable:
        said = f": {line[:300]}" if line else ""
        return Unavailable(
            f"{service} {what}{said}",
            f"./scripts/calyx --project {self._project} logs {service} shows more",
        )


def _named(containers: list[Container], service: str) -> Container:
    for container in containers:
        if container.service == service:
            return container
    raise Unavailable(f"the container of {service} is gone", "run ./scripts/calyx up again")
