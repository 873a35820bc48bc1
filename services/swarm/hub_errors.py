"""Says what went wrong with a model's or an adapter's files in the words of somebody who runs a node."""

import errno
import json
import os
from dataclasses import dataclass
from pathlib import Path

import httpx2
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from services.common.errors import Broken, CalyxError, InvalidInput, Unavailable
from services.common.settings import SwarmSettings

_DISK_ERRORS = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR),
    *(errno.ENOSPC, errno.EDQUOT, errno.EIO),
)


@dataclass(frozen=True)
class Kind:
    """What a repository of the hub holds.

    Attributes:
        article: goes before the noun.
        noun: what people call it.
        settings: names it, and its revision.
        form: how its files must be written.
    """

    article: str
    noun: str
    settings: tuple[str, ...]
    form: str


MODEL = Kind("a", "model", ("CALYX_MODEL", "CALYX_REVISION"), "transformers' form")
ADAPTER = Kind("an", "adapter", ("CALYX_ADAPTERS",), "peft's form")


def explain(
    doing: str, error: Exception, settings: SwarmSettings, folder: Path | None, kind: Kind
) -> CalyxError:
    """Return the error to raise instead of one of transformers, of the hub's library or of the disk.

    Args:
        doing: what was being done, with the repository's name.
        error: what was raised; transformers hides the real reason among its causes.
        settings: where it was looked for.
        folder: the local folder that it was read from, None for the hub and its cache.
        kind: what was read.
    """
    causes = _causes(error)
    if folder is not None:
        denied = any(isinstance(cause, PermissionError) for cause in causes)
        remedy = (
            f"let user {os.getuid()} read it" if denied else f"put a complete copy of the {kind.noun} there"
        )
        return Broken(f"{doing} from {folder}: {error}", remedy)
    return (
        _from_the_hub(doing, causes, kind)
        or _from_the_disk(f"{doing}: {error}", causes, settings.cache_dir)
        or _from_the_network(doing, causes, settings, kind)
        or InvalidInput(f"{doing}: {error}", f"choose another {kind.noun}")
    )


def _from_the_hub(doing: str, causes: list[BaseException], kind: Kind) -> CalyxError | None:
    for cause in causes:
        match cause:
            case GatedRepoError():
                return InvalidInput(
                    f"{doing}: the {kind.noun} asks for permission", "set HF_TOKEN to a token that has it"
                )
            case RepositoryNotFoundError() | RevisionNotFoundError():
                return InvalidInput(
                    f"{doing}: the hub has no such {kind.noun}", f"check {' and '.join(kind.settings)}"
                )
            case LocalEntryNotFoundError():
                continue
            case EntryNotFoundError():
                return InvalidInput(
                    f"{doing}: the {kind.noun} has no such file",
                    f"choose {kind.article} {kind.noun} in {kind.form}",
                )
    return None


def _from_the_disk(problem: str, causes: list[BaseException], cache: Path) -> CalyxError | None:
    if any(isinstance(cause, OSError) and cause.errno in _DISK_ERRORS for cause in causes):
        return Broken(problem, f"check that {cache} is a folder with space, and its permissions")
    if any(isinstance(cause, json.JSONDecodeError | UnicodeDecodeError) for cause in causes):
        return Broken(problem, f"delete that file under {cache}, so that it is downloaded again")
    return None


def _from_the_network(
    doing: str, causes: list[BaseException], settings: SwarmSettings, kind: Kind
) -> CalyxError | None:
    if not any(isinstance(cause, OSError | httpx2.HTTPError) for cause in causes):
        return None
    hub = "HF_HUB_OFFLINE forbids to ask" if settings.hf_hub_offline else "there is no answer from"
    return Unavailable(
        f"{doing}: not in {settings.models_dir} or {settings.cache_dir}, and {hub} the hub",
        f"check {kind.settings[0]} and the network, or put the files there",
    )


def _causes(error: BaseException | None) -> list[BaseException]:
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain
