"""What Compose itself and the helper need: ports on the host, limits, and how images are built."""

from pathlib import Path

from pydantic import Field, SecretStr

from services.common.settings.base import Section


class StackSettings(Section):
    """Read on the host: by the helper, and by Compose when it fills in ``compose.yaml``."""

    endpoint_port: int = Field(default=8000, ge=1, le=65535)
    """Port of this machine's loopback that the endpoint is reached at."""

    grpc_port: int = Field(default=8001, ge=1, le=65535)
    """Port of this machine's loopback that the endpoint is reached at for gRPC."""

    api_key: SecretStr | None = None
    """API key that the helper itself calls the endpoint with, where it asks for one."""

    health_port: int = Field(default=8080, ge=1, le=65535)
    """Port of this machine's loopback that the health page is reached at."""

    prometheus_port: int = Field(default=9090, ge=1, le=65535)
    """Port of this machine's loopback that Prometheus is reached at, where the monitoring profile runs it."""

    config_dir: Path = Path("config")
    """Folder of this machine that the endpoint reads its models.yaml from."""

    server_memory: str = Field(default="16g", pattern=r"^\d+[bkmg]?$")
    """The most memory that the server's container may use, such as 16g."""

    endpoint_memory: str = Field(default="6g", pattern=r"^\d+[bkmg]?$")
    """The most memory that the endpoint's container may use, such as 6g."""

    ca_bundle: Path = Path("/etc/ssl/certs/ca-certificates.crt")
    """Certificates that the image build trusts, for networks whose proxy signs TLS itself; ``/dev/null`` where
    no such file is, and the build then trusts Debian's."""

    wheelhouse: Path = Path("images/wheelhouse")
    """Folder of Python wheels that the image build prefers to downloads, for machines without a network."""

    torch_index: str = "https://download.pytorch.org/whl/cpu"
    """Where the image build finds PyTorch's CPU wheels when the wheelhouse has none."""

    pip_index_url: str | None = Field(default=None, validation_alias="PIP_INDEX_URL")
    """Another package index for the image build; empty takes pip's own default."""
