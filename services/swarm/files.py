"""A model's files: in a local folder, or on the hub and then in the cache volume.

Only the safetensors shards that hold wanted weights are downloaded, and the cache volume never grows over its
limit: the least recently used files make room (``petals.utils.disk_cache``).
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from petals.utils.disk_cache import allow_cache_reads, allow_cache_writes, free_disk_space_for
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoConfig,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)

from services.common.errors import Broken, CalyxError, InvalidInput, Unavailable
from services.common.settings import SwarmSettings

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


class ModelFiles:
    """Finds, downloads and reads the files of the model that the settings name.

    Args:
        settings: the model's name and where to look for it.

    Raises:
        InvalidInput: the name is not a hub name.
    """

    def __init__(self, settings: SwarmSettings) -> None:
        self.name = settings.model
        if not _NAME.fullmatch(self.name) or ".." in self.name:
            raise InvalidInput(
                f"{self.name!r} is not a model's name", "write it as owner/name, as on the hub"
            )
        self._settings = settings
        folder = settings.models_dir / self.name
        self.folder: Path | None = folder if (folder / "config.json").exists() else None
        self._index: dict[str, str] | None = None

    @property
    def _hub(self) -> dict[str, Any]:
        token = self._settings.hf_token
        return {
            "revision": self._settings.revision,
            "token": token.get_secret_value() if token else None,
            "cache_dir": str(self._settings.cache_dir),
        }

    def _load(self, what: str, auto_class: Any) -> Any:
        try:
            if self.folder is not None:
                return auto_class.from_pretrained(self.folder)
            return auto_class.from_pretrained(
                self.name, local_files_only=self._settings.hf_hub_offline, **self._hub
            )
        except (OSError, ValueError, KeyError, HfHubHTTPError) as error:
            raise self._explain(f"reading the {what} of", error) from error

    def config(self) -> PreTrainedConfig:
        """Return the model's configuration.

        Raises:
            InvalidInput: there is no such model, or its architecture is unknown to transformers.
            Unavailable: the hub does not answer.
            Broken: the local folder is unreadable.
        """
        config: PreTrainedConfig = self._load("configuration", AutoConfig)
        return config

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Return the model's tokenizer; raises as ``config`` does."""
        tokenizer: PreTrainedTokenizerBase = self._load("tokenizer", AutoTokenizer)
        return tokenizer

    def generation_config(self) -> GenerationConfig | None:
        """Return how the model's authors generate with it, or None if they do not say."""
        try:
            generation: GenerationConfig = self._load("generation settings", GenerationConfig)
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
            weights |= self._read_shard(shard, wanted)
        return weights

    def _weight_index(self) -> dict[str, str]:
        if self._index is None:
            try:
                path = self._fetch(INDEX)
                self._index = dict(json.loads(path.read_text())["weight_map"])
            except FileNotFoundError:
                self._index = dict.fromkeys(self._shard_names(SINGLE), SINGLE)
            except (ValueError, KeyError, TypeError) as error:
                raise Broken(
                    f"weights index of {self.name} is corrupt: {error}", self._mend(INDEX)
                ) from error
        return self._index

    def _shard_names(self, shard: str) -> list[str]:
        return self._open_shard(shard, lambda opened: list(opened.keys()))

    def _read_shard(self, shard: str, wanted: Callable[[str], bool]) -> dict[str, torch.Tensor]:
        def read(opened: Any) -> dict[str, torch.Tensor]:
            names = opened.keys()
            return {name: opened.get_tensor(name) for name in names if wanted(name)}

        weights: dict[str, torch.Tensor] = self._open_shard(shard, read)
        return weights

    def _open_shard(self, shard: str, read: Callable[[Any], Any]) -> Any:
        for attempt in (1, 2):
            path = self._fetch_weights(shard)
            try:
                with self._reading(), safe_open(path, framework="pt") as opened:
                    return read(opened)
            except (SafetensorError, OSError) as error:
                if self.folder is None and attempt == 1:
                    path.resolve().unlink(missing_ok=True)
                    continue
                raise Broken(
                    f"weights file {shard} of {self.name} is corrupt: {error}", self._mend(shard)
                ) from error
        raise AssertionError("unreachable")

    def _fetch_weights(self, shard: str) -> Path:
        try:
            return self._fetch(shard)
        except FileNotFoundError as error:
            raise Broken(
                f"weights file {shard} of {self.name} is missing",
                "only models in safetensors form can be served",
            ) from error

    def _fetch(self, filename: str) -> Path:
        """Return the file's path, downloaded if need be; FileNotFoundError if the model has no such file."""
        if self.folder is not None:
            path = self.folder / filename
            path.stat()
            return path
        try:
            with self._reading():
                return Path(hf_hub_download(self.name, filename, local_files_only=True, **self._hub))
        except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
            if self._settings.hf_hub_offline:
                raise self._explain(f"finding {filename} of", error) from error
        return self._download(filename)

    def _download(self, filename: str) -> Path:
        endpoint = self._settings.hf_endpoint
        try:
            with allow_cache_writes(self._hub["cache_dir"]):
                url = hf_hub_url(self.name, filename, revision=self._settings.revision, endpoint=endpoint)
                size = get_hf_file_metadata(url, token=self._hub["token"]).size
                free_disk_space_for(
                    size or 0,
                    cache_dir=self._hub["cache_dir"],
                    max_disk_space=int(self._settings.cache_limit),
                )
                return Path(hf_hub_download(self.name, filename, endpoint=endpoint, **self._hub))
        except EntryNotFoundError as error:
            raise FileNotFoundError(filename) from error
        except RuntimeError as error:  # what free_disk_space_for raises
            raise Broken(
                f"no space for {filename} of {self.name} in {self._settings.cache_dir}: {error}",
                "free space, raise CALYX_CACHE_LIMIT, or serve fewer blocks",
            ) from error
        except (HfHubHTTPError, OSError) as error:
            raise self._explain(f"downloading {filename} of", error) from error

    def _reading(self) -> Any:
        return allow_cache_reads(self._hub["cache_dir"])

    def _mend(self, filename: str) -> str:
        place = self.folder or self._settings.cache_dir
        return f"delete {filename} under {place} and put a good copy there"

    def _explain(self, doing: str, error: Exception) -> CalyxError:
        """Say what went wrong in the words of somebody who runs a node."""
        doing = f"{doing} {self.name}"
        causes = _causes(error)
        if any(isinstance(cause, GatedRepoError) for cause in causes):
            return InvalidInput(
                f"{doing}: the model asks for permission", "set HF_TOKEN to a token that has it"
            )
        if any(isinstance(cause, RepositoryNotFoundError | RevisionNotFoundError) for cause in causes):
            return InvalidInput(f"{doing}: the hub has no such model", "check CALYX_MODEL and CALYX_REVISION")
        if self.folder is not None:
            return Broken(f"{doing} from {self.folder}: {error}", "put a complete copy of the model there")
        if any(isinstance(cause, OSError | HfHubHTTPError) for cause in causes):
            return Unavailable(
                f"{doing}: not in {self._settings.models_dir} or {self._settings.cache_dir}, "
                f"and the hub does not answer",
                "check CALYX_MODEL and the network, or put the files there",
            )
        return InvalidInput(f"{doing}: {error}", "choose another model")


def _causes(error: BaseException | None) -> list[BaseException]:
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain
