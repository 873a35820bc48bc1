"""The ports that the stack publishes on this machine, as the settings and as the engine see them."""

from scripts.helper.checks.machine import EngineFacts
from scripts.helper.engine import Engine
from services.common.settings import PREFIX, AuthoritySettings, StackSettings


def wanted_ports(*, seed: bool = False) -> dict[str, int]:
    """Return variable → TCP port for every port of this machine that the stack publishes.

    Args:
        seed: whether it is a pool's seed.

    Raises:
        InvalidSetting: one of them is not a port.
    """
    settings = StackSettings.load()
    ports = {
        f"{PREFIX}ENDPOINT_PORT": settings.endpoint_port,
        f"{PREFIX}HEALTH_PORT": settings.health_port,
    }
    return ports | ({f"{PREFIX}AUTHORITY_PORT": AuthoritySettings.load().authority_port} if seed else {})


def engine_facts(engine: Engine, project: str) -> EngineFacts:
    """Return what the checks want to know of an engine."""
    containers = engine.containers(project)
    return EngineFacts(
        version=engine.version(),
        runtimes=engine.runtimes(),
        root_dir=engine.root_dir(),
        our_ports=frozenset(outside for container in containers for _, outside in container.ports),
    )
