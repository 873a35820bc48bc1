"""What makes this node a member of a pool, and the folder that it is kept in."""

from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from services.common.errors import Broken
from services.common.files import replace_file

KEY, PUBLIC_KEY, CERTIFICATE, CA, RECORD = "host.key", "host.pub", "host.crt", "ca.crt", "membership.json"
CONSOLE_KEY = "console.key"


class Lighthouse(BaseModel):
    """A node that tells members where the others are, and relays for those that cannot reach each other."""

    model_config = ConfigDict(frozen=True)

    address: IPv4Address
    endpoints: list[str]


class Standing(BaseModel):
    """What the authority tells a member again and again, for it changes; times are seconds since the epoch."""

    model_config = ConfigDict(frozen=True)

    ca: str
    blocklist: list[str]
    lighthouses: list[Lighthouse]
    initial_peers: list[str]
    endpoint_nodes: list[IPv4Address] = []
    expires_at: float
    ca_expires_at: float | None = None
    lease_seconds: float
    renew: bool = False


class Membership(Standing):
    """A node's place in its pool. ``credential`` and the key beside it are secrets."""

    pool: str
    authority: str
    pin: str
    node_id: str
    name: str
    role: str = "worker"
    address: IPv4Interface
    certificate: str
    credential: str

    def with_standing(self, standing: Standing) -> "Membership":
        """Return the same place with what the authority said last."""
        return self.model_copy(update=dict(standing))


class StateFolder:
    """The node's key, certificates and membership on disk, readable by the sidecar alone.

    Args:
        path: the folder; it must exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> Membership | None:
        """Return the membership, or None if this node has joined no pool.

        Raises:
            Broken: the record cannot be read.
        """
        record = self.path / RECORD
        try:
            return Membership.model_validate_json(record.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            raise Broken(
                f"reading {record}: {_first_line(error)}", "leave the pool and join it again"
            ) from error

    def save(self, membership: Membership) -> None:
        """Keep the membership, and its certificates where Nebula reads them.

        Raises:
            Broken: the disk takes no more.
        """
        self.write(CA, membership.ca)
        self.write(CERTIFICATE, membership.certificate)
        self.write(RECORD, membership.model_dump_json())

    def read(self, name: str) -> str:
        """Return a file's text.

        Raises:
            Broken: it cannot be read.
        """
        try:
            return (self.path / name).read_text()
        except OSError as error:
            raise Broken(
                f"reading {self.path / name}: {error.strerror}", "leave the pool and join it again"
            ) from error

    def write(self, name: str, text: str) -> None:
        """Write a file that only the sidecar may read; readers see the old content or the new, never half.

        Raises:
            Broken: the disk takes no more.
        """
        replace_file(self.path / name, text)


def _first_line(error: Exception) -> Any:
    return error.strerror if isinstance(error, OSError) else str(error).splitlines()[0]
