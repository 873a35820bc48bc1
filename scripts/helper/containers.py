"""What the helper knows about a container and how containers relate: values, no engine."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from graphlib import CycleError, TopologicalSorter
from typing import Any, Self

_SERVICE = "com.docker.compose.service"
_DEPENDS_ON = "com.docker.compose.depends_on"
_NEVER = "0001-01-01T00:00:00Z"


@dataclass(frozen=True)
class Container:
    """One service's container, as the engine described it at one moment.

    Attributes:
        identity: the engine's id.
        service: its name in ``compose.yaml``.
        state: created, running, paused, restarting, exited or dead.
        health: starting, healthy or unhealthy; None when it has no health check.
        detail: what its health check said last.
        started_at: when it was last started; None if never.
        restarts: how often the engine's restart policy has started it again.
        exit_code: how its last run ended; 0 while running.
        depends_on: services that must be up before it.
        only_started: those of them that must have been started and need not be healthy yet.
        network_owner: id of the container whose network it shares, None when it has its own.
        ports: port inside → port on this machine, for TCP ports that are published.
    """

    identity: str
    service: str
    state: str
    health: str | None = None
    detail: str | None = None
    started_at: datetime | None = None
    restarts: int = 0
    exit_code: int = 0
    depends_on: tuple[str, ...] = ()
    only_started: tuple[str, ...] = ()
    network_owner: str | None = None
    ports: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, attributes: dict[str, Any]) -> Self:
        """Return what the engine's description of a container says."""
        labels = attributes["Config"]["Labels"]
        state = attributes["State"]
        health = state.get("Health") or {}
        mode = attributes["HostConfig"].get("NetworkMode") or ""
        started = state.get("StartedAt") or _NEVER
        dependencies = [part.split(":") for part in labels.get(_DEPENDS_ON, "").split(",") if part]
        published = (attributes.get("NetworkSettings") or {}).get("Ports") or {}
        return cls(
            identity=attributes["Id"],
            service=labels[_SERVICE],
            state=state["Status"],
            health=health.get("Status") or None,
            detail=_last_words(health),
            started_at=None if started == _NEVER else datetime.fromisoformat(started),
            restarts=attributes.get("RestartCount", 0),
            exit_code=state.get("ExitCode", 0),
            depends_on=tuple(name for name, *_ in dependencies),
            only_started=tuple(name for name, *rest in dependencies if rest[:1] == ["service_started"]),
            network_owner=mode.removeprefix("container:") if mode.startswith("container:") else None,
            ports=tuple(
                (int(inside.removesuffix("/tcp")), int(bindings[0]["HostPort"]))
                for inside, bindings in published.items()
                if inside.endswith("/tcp") and bindings
            ),
        )

    @property
    def ready(self) -> bool:
        """Running, and healthy as far as it says."""
        return self.state == "running" and self.health in (None, "healthy")

    def published(self, port: int) -> int | None:
        """Return the port on this machine that leads to a port of the container."""
        return dict(self.ports).get(port)


def in_start_order(containers: Iterable[Container]) -> list[Container]:
    """Sort so that each container comes after those it depends on, by name where that leaves a choice."""
    by_service = {container.service: container for container in sorted(containers, key=lambda c: c.service)}
    sorter = TopologicalSorter(
        {name: [d for d in c.depends_on if d in by_service] for name, c in by_service.items()}
    )
    try:
        return [by_service[name] for name in sorter.static_order()]
    except CycleError:
        return list(by_service.values())


def orphans(containers: Iterable[Container]) -> list[Container]:
    """Return running containers whose network's owner was made anew, so that only making them anew helps.

    Compose leaves them running without a network: https://github.com/docker/compose/issues/6626.
    """
    present = {container.identity for container in containers}
    return [c for c in containers if c.network_owner is not None and c.network_owner not in present]


def stale(containers: Iterable[Container]) -> list[Container]:
    """Return running containers that lost their network because its owner was restarted after them."""
    owners = {container.identity: container for container in containers}
    found = []
    for container in containers:
        owner = owners.get(container.network_owner or "")
        if (
            container.state == "running"
            and owner is not None
            and owner.started_at is not None
            and container.started_at is not None
            and container.started_at < owner.started_at
        ):
            found.append(container)
    return found


def _last_words(health: dict[str, Any]) -> str | None:
    checks = health.get("Log") or []
    lines = str(checks[-1].get("Output") or "").splitlines() if checks else []
    return lines[0] if lines else None
