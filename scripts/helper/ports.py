"""The ports that the stack publishes on this machine, as the settings and as the engine see them."""

from scripts.helper.checks.machine import EngineFacts
from scripts.helper.engine import Engine
from scripts.helper.pools import Pool
from services.common.settings import PREFIX, AuthoritySettings, StackSettings


def wanted_ports(pool: Pool | None) -> dict[str, int]:
    """Return variable → TCP port for every port of this machine that the stack publishes.

    Args:
        pool: the pool whose node it is, None for a stack on its own.

    Raises:
        InvalidSetting: one of them is not a port.
    """
    settings = StackSettings.load()
    ports = {
        f"{PREFIX}ENDPOINT_PORT": settings.endpoint_port,
        f"{PREFIX}HEALTH_PORT": settings.health_port,
    }
    if pool is not None and pool.role == "seed":
        ports[f"{PREFIX}AUTHORITY_PORT"] = AuthoritySettings.load().authority_port
    return ports


def engine_facts(engine: Engine, project: str) -> EngineFacts:
    """Return what the checks want to know of an engine."""
    containers = engine.containers(project)
    return EngineFacts(
        version=engine.version(),
        runtimes=engine.runtimes(),
        root_dir=engine.root_dir(),
        our_ports=frozenset(outside for container in containers for _, outside in container.ports),
    )
