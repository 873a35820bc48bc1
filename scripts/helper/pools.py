"""The pools that this machine is part of: a folder for each, with everything that the helper must remember."""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from services.common.errors import Broken, InvalidInput, Unavailable
from services.common.files import replace_file
from services.common.settings import PREFIX, VpnSettings

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_FILE = "pool.json"
_FRAGMENTS = {
    "seed": "compose.seed.yaml",
    "worker": "compose.worker.yaml",
    "public": "compose.public.yaml",
}

PUBLIC = "public"
"""What Petals' public swarm is called among a machine's pools."""

OWN_ENDPOINT = f"{PREFIX}OWN_ENDPOINT"
"""Set where a member runs an endpoint."""


@dataclass(frozen=True)
class Pool:
    """One pool as this machine knows it.

    Attributes:
        name: the pool's name.
        project: the name of its Compose project.
        role: ``seed`` on the machine that made the pool, ``worker`` on others that joined it; ``public`` in Petals'
            public swarm, which has no seed, no tokens and no tunnel.
        settings: variables for the Compose files, none of them secret.
        server: whether this machine shares blocks.
        paused: whether it was asked not to, for a while.
    """

    name: str
    project: str
    role: Literal["seed", "worker", "public"]
    settings: dict[str, str] = field(default_factory=dict)
    server: bool = True
    paused: bool = False

    @property
    def answers(self) -> bool:
        """Whether this machine by itself makes the pool's model complete, so that it can be asked at once."""
        return self.role == "seed" and self.server and not self.paused

    @property
    def part(self) -> str:
        """What this machine is in the pool, as it is told to people."""
        if self.role == "public":
            return "a server of Petals' public swarm"
        if self.role == "seed":
            return "the seed"
        return "a worker" if self.server else "a user"

    @property
    def endpoint(self) -> bool:
        """Whether this member runs an endpoint besides the seed's.

        Raises:
            InvalidSetting: its setting is neither yes nor no.
        """
        if self.role != "worker" or not self.server:
            return False
        chosen = self.settings.get(OWN_ENDPOINT)
        return VpnSettings.load(**({"own_endpoint": chosen} if chosen else {})).own_endpoint

    @property
    def meshed(self) -> bool:
        """Whether its machines reach each other over a private network."""
        return self.role != "public"

    @property
    def model(self) -> str | None:
        """Hub name of the model that was chosen when the machine joined, None for the one in the settings."""
        return self.settings.get(f"{PREFIX}MODEL")

    def with_settings(self, settings: Mapping[str, str]) -> "Pool":
        """Return the same pool with settings that somebody chose now."""
        return replace(self, settings=self.settings | dict(settings))

    @property
    def fragment(self) -> str:
        """The Compose file that makes ``compose.yaml`` this kind of node."""
        return _FRAGMENTS[self.role]


def default_project(name: str) -> str:
    """Return the name of a pool's Compose project if nobody chooses another."""
    return f"calyx-{name}"


def check_name(name: str) -> str:
    """Return a pool's name if it can be one.

    Raises:
        InvalidInput: it cannot.
    """
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{name!r} is no name for a pool", "use at most 40 small letters, digits and hyphens between them"
        )
    return name


class Pools:
    """The folder that holds a folder for each pool.

    Args:
        path: made when the first pool is saved; readable by its owner alone.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> list[str]:
        """Return the names of all pools, sorted."""
        return sorted(found.parent.name for found in self._path.glob(f"*/{_FILE}"))

    def load(self, name: str) -> Pool:
        """Return a pool.

        Raises:
            InvalidInput: the name cannot be one, or this machine knows no such pool.
            Broken: its file cannot be read.
        """
        file = self._path / check_name(name) / _FILE
        try:
            content = json.loads(file.read_text())
            return Pool(**content)
        except FileNotFoundError:
            raise InvalidInput(
                f"this machine is in no pool {name}", f"it is in: {', '.join(self.names()) or 'none'}"
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Broken(f"reading {file}: {error}", "leave the pool by `stop` and join it again") from error

    def find(self, name: str | None, project: str | None) -> Pool | None:
        """Return the pool that is meant: by its name, by its project, or because it is the only one.

        Raises:
            InvalidInput: there is none of that name.
        """
        if name is not None:
            return self.load(name)
        known = [self.load(known) for known in self.names()]
        if project is not None:
            return next((pool for pool in known if pool.project == project), None)
        return known[0] if len(known) == 1 else None

    def choose(self, name: str | None, project: str | None) -> Pool:
        """Return the pool that is meant, see ``find``.

        Raises:
            Unavailable: there is none.
            InvalidInput: there are several, or none of that name.
        """
        if (pool := self.find(name, project)) is not None:
            return pool
        if names := self.names():
            raise InvalidInput(
                f"this machine is in several pools: {', '.join(names)}", "choose by --pool NAME"
            )
        raise Unavailable(
            "this machine is in no pool", "./scripts/calyx create makes one, ./scripts/calyx join enters one"
        )

    def save(self, pool: Pool) -> None:
        """Remember a pool; a failure leaves what was there.

        Raises:
            Broken: the disk takes no more.
        """
        folder = self._path / check_name(pool.name)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise Broken(
                f"making {folder}: {error.strerror}", "free space, or correct its permissions"
            ) from error
        replace_file(folder / _FILE, json.dumps(asdict(pool), indent=2) + "\n")

    def remove(self, name: str) -> None:
        """Forget a pool; nothing if it is not known."""
        shutil.rmtree(self._path / check_name(name), ignore_errors=True)
