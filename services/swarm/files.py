"""A model's files: in a local folder, or on the hub and then in the cache volume.

Only the safetensors shards that hold wanted weights are downloaded, and the cache volume never grows over its
limit: the least recently used files make room (``petals.utils.disk_cache``).
"""

import json
import logging
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import torch
from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    StrictDataclassError,
)
from petals.utils.disk_cache import allow_cache_reads, allow_cache_writes, free_disk_space_for
from pydantic import ByteSize
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
from services.swarm.family.verified import require_verified
from services.swarm.hub_errors import explain

logger = logging.getLogger(__name__)

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


class ModelFiles:
    """Finds, downloads and reads the files of the model that the settings name.

    Args:
        settings: the model's name and where to look for it.

    Raises:
        InvalidInput: the name is not a hub name.
        Broken: there is a folder of that name, but this process may not look into it.
    """

    def __init__(self, settings: SwarmSettings) -> None:
        self.name = settings.model
        if not _NAME.fullmatch(self.name) or ".." in self.name:
            raise InvalidInput(
                f"{self.name!r} is not a model's name", "write it as owner/name, as on the hub"
            )
        self._settings = settings
        folder = settings.models_dir / self.name
        try:
            self.folder: Path | None = folder if (folder / "config.json").exists() else None
        except OSError as error:
            raise explain(f"looking for {self.name}", error, settings, folder) from error
        self._index: dict[str, str] | None = None

    @property
    def _hub(self) -> dict[str, Any]:
        token = self._settings.hf_token
        return {
            "revision": self._settings.revision,
            "token": token.get_secret_value() if token else None,
            "cache_dir": str(self._settings.cache_dir),
        }

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

    def _read_shard(self, shard: str, take: Callable[[Any], Any]) -> Any:
        def read(path: Path) -> Any:
            with safe_open(path, framework="pt") as opened:
                return take(opened)

        try:
            return self._read(shard, read)
        except FileNotFoundError as error:
            raise Broken(
                f"weights file {shard} of {self.name} is missing",
                "only models in safetensors form can be served",
            ) from error

    def _read(self, filename: str, read: Callable[[Path], Any]) -> Any:
        """Return what ``read`` makes of the file; a corrupt download is replaced once.

        Raises:
            FileNotFoundError: the model has no such file.
            Broken: the file is corrupt.
        """
        replaceable = self.folder is None and not self._settings.hf_hub_offline
        while True:
            path = self._fetch(filename)
            try:
                with self._reading():
                    return read(path)
            except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                if not replaceable:
                    place = self.folder or self._settings.cache_dir
                    raise Broken(
                        f"{filename} of {self.name} is corrupt: {error}",
                        f"delete {filename} under {place} and put a good copy there",
                    ) from error
            logger.warning("a downloaded file is corrupt", extra={"model": self.name, "file": filename})
            path.resolve().unlink(missing_ok=True)
            replaceable = False

    def _fetch(self, filename: str) -> Path:
        """Return the file's path, downloaded if need be; FileNotFoundError if the model has no such file."""
        if self.folder is not None:
            path = self.folder / filename
            try:
                path.open("rb").close()  # libraries say of a file that they may not read that it is not there
            except PermissionError as error:
                raise self._explain(f"reading {filename} of", error) from error
            return path
        try:
            with self._reading():
                return Path(hf_hub_download(self.name, filename, local_files_only=True, **self._hub))
        except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
            if self._settings.hf_hub_offline:
                raise self._explain(f"finding {filename} of", error) from error
        except OSError as error:
            raise self._explain(f"looking for {filename} of", error) from error
        return self._download(filename)

    def _download(self, filename: str) -> Path:
        endpoint = self._settings.hf_endpoint
        try:
            with allow_cache_writes(self._hub["cache_dir"]):
                url = hf_hub_url(self.name, filename, revision=self._settings.revision, endpoint=endpoint)
                self._make_room(filename, get_hf_file_metadata(url, token=self._hub["token"]).size or 0)
                return Path(hf_hub_download(self.name, filename, endpoint=endpoint, **self._hub))
        except EntryNotFoundError as error:
            raise FileNotFoundError(filename) from error
        except (OSError, httpx2.HTTPError) as error:
            raise self._explain(f"downloading {filename} of", error) from error

    def _make_room(self, filename: str, size: int) -> None:
        limit = self._settings.cache_limit
        try:
            free_disk_space_for(size, cache_dir=self._hub["cache_dir"], max_disk_space=int(limit))
        except RuntimeError as error:
            raise Broken(
                f"no space for the {ByteSize(size).human_readable()} of {filename} of {self.name} in "
                f"{self._settings.cache_dir}, which may hold {limit.human_readable()}",
                "free space on the disk, raise CALYX_CACHE_LIMIT, or serve fewer blocks",
            ) from error

    def _reading(self) -> Any:
        return allow_cache_reads(self._hub["cache_dir"])

    def _explain(self, doing: str, error: Exception) -> CalyxError:
        return explain(f"{doing} {self.name}", error, self._settings, self.folder)


def _parse_index(path: Path) -> dict[str, str]:
    index = json.loads(path.read_text())["weight_map"]
    if not all(isinstance(shard, str) and Path(shard).name == shard for shard in index.values()):
        raise ValueError("weights must lie in files beside the index")
    return dict(index)
