"""The ports that the stack publishes on this machine, as the settings and as the engine see them."""

from typing import TypeVar

from scripts.helper.checks.machine import EngineFacts
from scripts.helper.engine import Engine
from scripts.helper.pools import Pool
from services.common.settings import PREFIX, AuthoritySettings, Section, ServerSettings, StackSettings

_Settings = TypeVar("_Settings", bound=Section)

_ENDPOINT, _GRPC, _HEALTH = f"{PREFIX}ENDPOINT_PORT", f"{PREFIX}GRPC_PORT", f"{PREFIX}HEALTH_PORT"
_AUTHORITY, _PROMETHEUS = f"{PREFIX}AUTHORITY_PORT", f"{PREFIX}PROMETHEUS_PORT"

SERVER_PORT = f"{PREFIX}SERVER_PORT"
"""Sets the port of this machine that the public swarm reaches it at."""


def wanted_ports(pool: Pool | None, *, monitoring: bool = False) -> dict[str, int]:
    """Return variable → TCP port for every port of this machine that the stack publishes.

    Args:
        pool: the pool whose node it is, None for a stack on its own.
        monitoring: whether Prometheus belongs to it.

    Raises:
        InvalidSetting: one of them is not a port.
    """
    settings = _load(StackSettings, pool)
    ports = {_ENDPOINT: settings.endpoint_port, _GRPC: settings.grpc_port, _HEALTH: settings.health_port}
    if monitoring:
        ports[_PROMETHEUS] = settings.prometheus_port
    if pool is not None and pool.role == "seed":
        ports[_AUTHORITY] = _load(AuthoritySettings, pool).authority_port
    if pool is not None and pool.role == "public":
        ports[SERVER_PORT] = _load(ServerSettings, pool).server_port
    return ports


def _load(section: type[_Settings], pool: Pool | None) -> _Settings:
    """Read a section as Compose will: what the pool remembers comes before the environment."""
    remembered = pool.settings if pool else {}
    return section.load(
        **{field: remembered[name] for field, name in section.variables().items() if name in remembered}
    )


def engine_facts(engine: Engine, project: str) -> EngineFacts:
    """Return what the checks want to know of an engine."""
    containers = engine.containers(project)
    return EngineFacts(
        version=engine.version(),
        runtimes=engine.runtimes(),
        root_dir=engine.root_dir(),
        our_ports=frozenset(outside for container in containers for _, outside in container.ports),
    )
