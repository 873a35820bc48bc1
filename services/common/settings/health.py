"""How the swarm is watched."""

from pathlib import Path

from pydantic import Field

from services.common.durations import Duration
from services.common.settings.base import Section


class HealthSettings(Section):
    """Read by the health exporter alone."""

    health_host: str = "0.0.0.0"  # noqa: S104 - inside the node's own network; compose publishes on loopback
    """Address that the health exporter listens on inside the node's network."""

    health_listen_port: int = Field(default=8080, ge=1, le=65535)
    """TCP port that the health exporter listens on inside the node's network."""

    health_update_period: float = Field(default=10.0, gt=0, allow_inf_nan=False)
    """Seconds between two looks at the swarm."""

    health_certificates_file: Path = Path("/node/certificates.json")
    """File in which the sidecar of a pool's node says when its certificates end."""

    health_history_file: Path = Path("/history/health.sqlite3")
    """File that keeps what the last day looked like; one that cannot be used is replaced by memory."""

    health_credits_dir: Path | None = None
    """Folder in which the pool's authority is told what nodes share, and tells what it booked; empty counts nothing,
    which is right wherever there is no authority."""

    health_credits_period: Duration = Field(default=600, ge=1, le=86400)
    """How long what nodes share is gathered before it is booked, such as 10m."""

    health_endpoint_metrics: str = Field(default="http://127.0.0.1:8000/metrics", pattern=r"^http://")
    """Metrics of this node's own endpoint, whose counts say how many tokens each node computed."""
