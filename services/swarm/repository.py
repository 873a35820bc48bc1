"""Files of a repository of the hub: looked for in the folder of models, then on the hub and in its cache.

The cache never grows over its limit: the least recently used files make room (``petals.utils.disk_cache``).
"""

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, OfflineModeIsEnabled
from petals.utils.disk_cache import allow_cache_reads, allow_cache_writes, free_disk_space_for
from pydantic import ByteSize
from safetensors import SafetensorError, safe_open

from services.common.errors import Broken, CalyxError, InvalidInput
from services.common.settings import SwarmSettings
from services.swarm.hub_errors import Kind, explain

logger = logging.getLogger(__name__)

_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


class Repository:
    """Finds, downloads and reads the files of one repository.

    Args:
        name: its name on the hub.
        settings: where to look for it.
        kind: what it holds, for messages.
        landmark: the file whose presence makes a local folder a copy of it.

    Raises:
        InvalidInput: the name is not a hub name.
        Broken: there is a folder of that name, but this process may not look into it.
    """

    def __init__(self, name: str, settings: SwarmSettings, kind: Kind, landmark: str) -> None:
        self.name = name
        self._settings, self._kind = settings, kind
        if not _NAME.fullmatch(name) or ".." in name:
            raise InvalidInput(
                f"{name!r} is not {kind.article} {kind.noun}'s name", "write it as owner/name, as on the hub"
            )
        folder = settings.models_dir / name
        try:
            self.folder: Path | None = folder if (folder / landmark).exists() else None
        except OSError as error:
            raise explain(f"looking for {name}", error, settings, folder, kind) from error

    @property
    def _hub(self) -> dict[str, Any]:
        token = self._settings.hf_token
        return {
            "revision": self._settings.revision,
            "token": token.get_secret_value() if token else None,
            "cache_dir": str(self._settings.cache_dir),
        }

    def _read_shard(self, shard: str, take: Callable[[Any], Any]) -> Any:
        def read(path: Path) -> Any:
            with safe_open(path, framework="pt") as opened:
                return take(opened)

        try:
            return self._read(shard, read)
        except FileNotFoundError as error:
            raise Broken(
                f"weights file {shard} of {self.name} is missing",
                f"only {self._kind.noun}s in safetensors form can be served",
            ) from error

    def _read(self, filename: str, read: Callable[[Path], Any]) -> Any:
        """Return what ``read`` makes of the file; a corrupt download is replaced once.

        Raises:
            FileNotFoundError: it has no such file.
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
            logger.warning(
                "a downloaded file is corrupt", extra={self._kind.noun: self.name, "file": filename}
            )
            path.resolve().unlink(missing_ok=True)
            replaceable = False

    def _fetch(self, filename: str) -> Path:
        """Return the file's path, downloaded if need be; FileNotFoundError if it has no such file."""
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
        return explain(f"{doing} {self.name}", error, self._settings, self.folder, self._kind)
