"""How the pool's authority enrols nodes; on the seed node alone."""

from ipaddress import IPv4Network
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator

from services.common.durations import Duration
from services.common.settings.base import Section

_DAY = 24 * 3600


class AuthoritySettings(Section):
    """Read by the authority alone."""

    pool_name: str = Field(default="calyx", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")
    """The pool's name, shown to those who join; letters, digits, dots, dashes and underscores."""

    public_address: str | None = Field(default=None, pattern=r"^([A-Za-z0-9.-]{1,253}|[0-9A-Fa-f:.]{2,45})$")
    """Host name or IP address, without a port, that other machines reach the seed node at; tokens carry it."""

    authority_port: int = Field(default=7443, ge=1, le=65535)
    """TCP port of this machine that other machines reach the authority at; tokens carry it."""

    authority_listen_port: int = Field(default=7443, ge=1, le=65535)
    """TCP port that the authority listens on inside the node's network."""

    nebula_port: int = Field(default=4242, ge=1, le=65535)
    """UDP port of this machine that other machines reach the seed's mesh at."""

    mesh_network: IPv4Network = IPv4Network("10.77.0.0/16")
    """Addresses of the pool's mesh, one per node; must not overlap a network that the nodes are in already."""

    authority_dir: Path = Path("/authority")
    """Folder of the authority's keys and, unless another database is named, of its database."""

    database_url: SecretStr | None = None
    """SQLAlchemy's URL of a PostgreSQL database (postgresql+psycopg://…); empty keeps an SQLite file in the
    authority's folder."""

    authority_peers_file: Path = Path("/pool/initial_peers")
    """File with the multiaddrs of the swarm's first peers, which nodes are told."""

    seed_token_file: Path = Path("/seed/token")
    """File that the authority writes the join token of its own node to, as long as no seed node is there."""

    authority_credits_dir: Path = Path("/credits")
    """Folder in which the health exporter says what nodes share, and is told what was booked."""

    ca_lifetime: Duration = Field(default=3650 * _DAY, ge=60, le=36500 * _DAY)
    """How long a certificate authority of the mesh is valid, such as 3650d; at least 60s."""

    certificate_lifetime: Duration = Field(default=_DAY, ge=15, le=366 * _DAY)
    """How long a node's certificate is valid, such as 30m, 24h or 7d; at least 15s. Nodes renew theirs when two
    thirds are over."""

    lease_seconds: int = Field(default=60, ge=5, le=86400)
    """Seconds after its last sign of life that a node counts as gone."""

    member_endpoints: bool = True
    """0 lets members use the seed's endpoint and their own alone; otherwise they turn to those of workers while the
    seed's is not ready. Whoever runs an endpoint reads what it is asked."""

    @field_validator("mesh_network")
    @classmethod
    def _room_for_nodes(cls, value: IPv4Network) -> IPv4Network:
        if not 8 <= value.prefixlen <= 30:
            raise ValueError("must be a network between /8 and /30")
        return value

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(
            ("postgresql+psycopg://", "sqlite:///")
        ):
            raise ValueError("must begin with postgresql+psycopg:// or sqlite:///")
        return value

    @model_validator(mode="after")
    def _certificates_end_before_what_signs_them(self) -> Self:
        if self.certificate_lifetime > self.ca_lifetime:
            raise ValueError(
                "CALYX_CERTIFICATE_LIFETIME is longer than CALYX_CA_LIFETIME — no certificate outlives its authority"
            )
        return self
