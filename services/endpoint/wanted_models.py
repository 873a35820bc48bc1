"""Which models shall be served now: those of the file, or else the one of the settings, and those that are found."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from services.endpoint.discovery import Discovery
from services.endpoint.engine import Model
from services.endpoint.model_file import ModelEntry, read_model_file
from services.endpoint.models import Offer


class WantedModels:
    """Answers ``Models.watch``.

    Args:
        file: ``models.yaml``; it need not be there.
        otherwise: what is served without it.
        load: loads a model.
        discovery: finds more in the swarm, if that is wanted.
    """

    def __init__(
        self,
        file: Path,
        otherwise: ModelEntry,
        load: Callable[[ModelEntry], Model],
        discovery: Discovery | None = None,
    ) -> None:
        self._file = file
        self._otherwise = otherwise
        self._load = load
        self._discovery = discovery
        self._read: tuple[object, list[ModelEntry]] = (None, [otherwise])

    def configured(self) -> list[Offer]:
        """Return the models that somebody asked for.

        Raises:
            InvalidSetting: the file is not to be understood.
        """
        return [self._offer(entry, asked_for=True) for entry in self._entries()]

    def __call__(self) -> Sequence[Offer]:
        """Return all models; may ask the swarm, and block for seconds.

        Raises:
            InvalidSetting: the file is not to be understood.
        """
        offers = self.configured()
        if self._discovery is not None:
            taken = {name for offer in offers for name in (offer.name, *offer.aliases)}
            found = self._discovery.entries()
            offers += [self._offer(entry, asked_for=False) for entry in found if entry.name not in taken]
        return offers

    def _entries(self) -> list[ModelEntry]:
        try:
            state = os.stat(self._file)
            version = (state.st_mtime_ns, state.st_size, state.st_ino)
            if version != self._read[0]:
                self._read = (version, [self._completed(entry) for entry in read_model_file(self._file)])
        except FileNotFoundError:
            self._read = (None, [self._otherwise])
        return self._read[1]

    def _completed(self, entry: ModelEntry) -> ModelEntry:
        """Let the model of the settings have the prefix that they give it, in the file too."""
        if entry.name != self._otherwise.name or entry.dht_prefix is not None:
            return entry
        return entry.model_copy(update={"dht_prefix": self._otherwise.dht_prefix})

    def _offer(self, entry: ModelEntry, asked_for: bool) -> Offer:
        return Offer(
            entry.served_as, lambda: self._load(entry), entry.aliases, entry.source, asked_for=asked_for
        )
