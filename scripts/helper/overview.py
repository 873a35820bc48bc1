"""What ``status`` shows: the services, from the engine, and the swarm, from the health service."""

import json
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from scripts.helper.containers import Container, in_start_order
from scripts.helper.gpus import GpuState
from scripts.helper.pools import Pool
from scripts.helper.swarm import ModelState, SwarmState, read_swarm
from services.common.node_report import NodeReport

ENDPOINT_PORT = 8000
"""Port of the endpoint inside the node's network."""

HEALTH_PORT = 8080
"""Port of the health service inside the node's network."""

PROMETHEUS_PORT = 9090
"""Port of Prometheus inside its own network."""


@dataclass(frozen=True)
class ServiceState:
    """One service: ``state`` and ``health`` in the engine's words, ``since`` in ISO 8601, ``detail`` in its own."""

    name: str
    state: str
    health: str | None
    since: str | None
    detail: str | None = None


@dataclass(frozen=True)
class PoolState:
    """The pool that the stack is a node of, and what this machine is in it: ``part`` says it to people."""

    name: str
    role: str
    part: str
    paused: bool


@dataclass(frozen=True)
class Overview:
    """Everything ``status`` shows; its fields are the keys of ``status --json``.

    Attributes:
        project: Compose project name.
        running: every service runs and is healthy.
        endpoint: address of the endpoint, None when it is not published.
        health: address of the health page, None when it is not published.
        services: in the order in which they start.
        swarm: what the health service says of its last look; None while it does not answer.
        models: as it saw them.
        pool: None for a stack on its own.
        node: what the sidecar says of the private network; None without one, or while it does not answer.
        gpus: this machine's.
    """

    project: str
    running: bool
    endpoint: str | None
    health: str | None
    services: list[ServiceState] = field(default_factory=list)
    swarm: SwarmState | None = None
    models: list[ModelState] = field(default_factory=list)
    pool: PoolState | None = None
    node: NodeReport | None = None
    gpus: list[GpuState] = field(default_factory=list)

    def to_json(self) -> str:
        """Return the overview as JSON, with stable keys."""
        return json.dumps(_OVERVIEW.dump_python(self, mode="json"), indent=2)


_OVERVIEW = TypeAdapter(Overview)


def survey(
    project: str,
    containers: list[Container],
    fetch: Callable[[str], dict[str, Any] | None],
    pool: Pool | None = None,
) -> Overview:
    """Put an overview together, but for what only this machine's programs know: its node and its GPUs.

    Args:
        project: Compose project name.
        containers: of the project.
        fetch: returns the JSON at an address, None when nothing answers there.
        pool: whose node the project is.
    """
    health = address(containers, HEALTH_PORT)
    answer = fetch(f"{health}/api/v2/state") if health else None
    swarm, models = read_swarm(answer) if answer is not None else (None, [])
    return Overview(
        project=project,
        running=bool(containers) and all(container.ready for container in containers),
        endpoint=address(containers, ENDPOINT_PORT),
        health=health,
        services=[
            ServiceState(
                container.service,
                container.state,
                container.health,
                container.started_at.isoformat(timespec="seconds") if container.started_at else None,
                container.detail if container.state == "running" else None,
            )
            for container in in_start_order(containers)
        ],
        swarm=swarm,
        models=models,
        pool=PoolState(pool.name, pool.role, pool.part, pool.paused) if pool else None,
    )


def address(containers: list[Container], port: int) -> str | None:
    """Return the address on this machine of a port inside the node's network, None when not published."""
    for container in containers:
        outside = container.published(port)
        if outside is not None:
            return f"http://127.0.0.1:{outside}"
    return None


def fetch_json(url: str, limit: float = 5.0) -> dict[str, Any] | None:
    """Return the JSON object at an address of this machine, None when there is none in ``limit`` seconds."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=limit) as response:
            answer = json.load(response)
    except (OSError, ValueError):
        return None
    return answer if isinstance(answer, dict) else None
