"""Which model a process works with: its files, its parts and its name in the DHT."""

from dataclasses import dataclass

from petals.data_structures import UID_DELIMITER

from services.common.settings import SwarmSettings
from services.swarm.family.anatomy import Anatomy
from services.swarm.family.verified import derive_dht_prefix
from services.swarm.files import ModelFiles


@dataclass(frozen=True)
class ModelSpec:
    """One model, as servers and clients both know it."""

    files: ModelFiles
    anatomy: Anatomy
    dht_prefix: str

    @classmethod
    def find(cls, settings: SwarmSettings) -> "ModelSpec":
        """Find the model that the settings name, and check that the swarm can run it exactly.

        Raises:
            CalyxError: see ``ModelFiles.config`` and ``Anatomy.of``.
        """
        files = ModelFiles(settings)
        config = files.config()
        prefix = settings.dht_prefix or derive_dht_prefix(files.name, config.model_type)
        return cls(files, Anatomy.of(config), prefix)

    @property
    def num_blocks(self) -> int:
        """Return how many blocks the model has."""
        return self.anatomy.num_blocks

    def uid(self, block: int) -> str:
        """Return the block's key in the DHT."""
        return f"{self.dht_prefix}{UID_DELIMITER}{block}"
