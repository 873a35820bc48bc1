"""A model's files: configuration, tokenizer and weights. Only the shards that hold wanted weights are downloaded."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import (
    AutoConfig,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)

from services.common.errors import CalyxError, Unavailable
from services.common.settings import SwarmSettings
from services.swarm.family.verified import require_verified
from services.swarm.hub_errors import MODEL
from services.swarm.repository import Repository

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"


class ModelFiles(Repository):
    """Finds, downloads and reads the files of the model that the settings name.

    Args:
        settings: the model's name and where to look for it.

    Raises:
        CalyxError: see ``Repository``.
    """

    def __init__(self, settings: SwarmSettings) -> None:
        super().__init__(settings.model, settings, MODEL, "config.json")
        self._index: dict[str, str] | None = None

    def _load(self, what: str, read: Callable[..., Any]) -> Any:
        try:
            if self.folder is not None:
                return read(self.folder)
            return read(self.name, local_files_only=self._settings.hf_hub_offline, **self._hub)
        except (OSError, ValueError, KeyError, TypeError, httpx2.HTTPError, StrictDataclassError) as error:
            raise self._explain(f"reading the {what} of", error) from error

    def config(self) -> PreTrainedConfig:
        """Return the model's configuration.

        Raises:
            InvalidInput: there is no such model, or its architecture is not supported.
            Unavailable: the hub does not answer.
            Broken: the file is unreadable.
        """
        # Looked at first, because transformers explains an architecture that it does not know at great length
        raw, _ = self._load("configuration", PreTrainedConfig.get_config_dict)
        model_type = raw.get("model_type") if isinstance(raw, dict) else None
        require_verified(model_type, self.name, self._config)
        return self._config()

    def _config(self) -> PreTrainedConfig:
        config: PreTrainedConfig = self._load(
            "configuration", partial(AutoConfig.from_pretrained, trust_remote_code=False)
        )
        return config

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Return the model's tokenizer; raises as ``config`` does."""
        tokenizer: PreTrainedTokenizerBase = self._load("tokenizer", AutoTokenizer.from_pretrained)
        return tokenizer

    def generation_config(self) -> GenerationConfig | None:
        """Return how the model's authors generate with it, or None if they do not say."""
        try:
            generation: GenerationConfig = self._load("generation settings", GenerationConfig.from_pretrained)
            return generation
        except CalyxError:
            return None

    def weights(self, wanted: Callable[[str], bool]) -> dict[str, torch.Tensor]:
        """Read the weights whose names are wanted, from only the shards that hold them.

        Raises:
            Broken: a shard is missing or corrupt, or there is no space for it.
            Unavailable: the hub does not answer.
        """
        index = self._weight_index()
        shards = sorted({shard for name, shard in index.items() if wanted(name)})
        weights: dict[str, torch.Tensor] = {}
        for shard in shards:
            weights |= self._read_shard(
                shard,
                lambda opened: {name: opened.get_tensor(name) for name in filter(wanted, opened.keys())},
            )
        return weights

    def _weight_index(self) -> dict[str, str]:
        if self._index is None:
            try:
                self._index = self._read(INDEX, _parse_index)
            except (FileNotFoundError, Unavailable):  # without the hub, nobody can say that there is no index
                self._index = dict.fromkeys(
                    self._read_shard(SINGLE, lambda opened: list(opened.keys())), SINGLE
                )
        return self._index


def _parse_index(path: Path) -> dict[str, str]:
    index = json.loads(path.read_text())["weight_map"]
    if not all(isinstance(shard, str) and Path(shard).name == shard for shard in index.values()):
        raise ValueError("weights must lie in files beside the index")
    return dict(index)
