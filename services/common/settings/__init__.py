"""The one place that reads the environment: a section per file. ``.env.example`` lists every variable."""

from services.common.settings.authority import AuthoritySettings
from services.common.settings.base import PREFIX, Section
from services.common.settings.bootstrap import BootstrapSettings
from services.common.settings.endpoint import EndpointSettings
from services.common.settings.health import HealthSettings
from services.common.settings.logging import LoggingSettings
from services.common.settings.server import ServerSettings
from services.common.settings.stack import StackSettings
from services.common.settings.swarm import DEFAULT_MODEL, PUBLIC_PEERS, SwarmSettings
from services.common.settings.vpn import VpnSettings

SECTIONS: tuple[type[Section], ...] = (
    StackSettings,
    SwarmSettings,
    ServerSettings,
    EndpointSettings,
    HealthSettings,
    BootstrapSettings,
    VpnSettings,
    AuthoritySettings,
    LoggingSettings,
)

__all__ = [
    "DEFAULT_MODEL",
    "PREFIX",
    "PUBLIC_PEERS",
    "SECTIONS",
    "AuthoritySettings",
    "BootstrapSettings",
    "EndpointSettings",
    "HealthSettings",
    "LoggingSettings",
    "Section",
    "ServerSettings",
    "StackSettings",
    "SwarmSettings",
    "VpnSettings",
]
