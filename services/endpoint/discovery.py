"""Finds models in the swarm: those whose blocks are all online, and whose names are allowed."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Protocol

from pydantic import ValidationError

from services.common.errors import CalyxError
from services.endpoint.model_file import ModelEntry

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 30.0


class Announced(Protocol):
    """A model that servers of the swarm announce."""

    @property
    def name(self) -> str:
        """Its name on the hub, as its servers say."""

    @property
    def dht_prefix(self) -> str:
        """The prefix of its keys in the swarm."""

    @property
    def healthy(self) -> bool:
        """Whether every block is online."""


class Discovery:
    """Looks at the swarm now and then.

    A model is taken when all its blocks are online, and kept as long as any server announces it: one that is away for
    a moment shall not make the endpoint load it again.

    Args:
        look: asks the swarm what is announced; blocks for seconds, raises ``Unavailable``.
        allowed: patterns of names, such as ``meta-llama/*``.
        limit: how many models are taken at most.
        clock: monotonic time in seconds.
    """

    def __init__(
        self,
        look: Callable[[], Iterable[Announced]],
        allowed: Sequence[str],
        limit: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look = look
        self._allowed = allowed
        self._limit = limit
        self._clock = clock
        self._next_look = float("-inf")
        self._found: list[ModelEntry] = []

    def entries(self) -> list[ModelEntry]:
        """Return what was found; looks again if the last look is old, and keeps what it knows if that fails."""
        if self._clock() >= self._next_look:
            try:
                self._found = self._chosen(list(self._look()))
            except Exception as error:
                # Whatever strangers or a library did, what is known goes on
                problem = str(error) if isinstance(error, CalyxError) else type(error).__name__
                logger.warning("looking for models in the swarm", extra={"problem": problem})
            self._next_look = self._clock() + _LOOK_SECONDS
        return self._found

    def _chosen(self, announced: list[Announced]) -> list[ModelEntry]:
        prefixes = {one.dht_prefix for one in announced}
        kept = [entry for entry in self._found if entry.dht_prefix in prefixes]
        names = {entry.name for entry in kept}
        for one in announced:
            if one.healthy and one.name not in names and self._allows(one.name) and len(kept) < self._limit:
                entry = _entry(one)
                if entry is not None:
                    names.add(entry.name)
                    kept.append(entry)
        return kept

    def _allows(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self._allowed)


def _entry(one: Announced) -> ModelEntry | None:
    try:
        return ModelEntry(name=one.name, dht_prefix=one.dht_prefix)
    except ValidationError:
        return None  # strangers announce what they like
