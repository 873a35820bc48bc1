"""``models.yaml``: which models this endpoint serves, and by which names."""

from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.common.errors import InvalidSetting

_NAME = r"^[\w.-]+(/[\w.-]+)?$"
_Alias = Annotated[str, Field(pattern=r"^[\w.:/-]+$", max_length=200)]


class ModelEntry(BaseModel):
    """A model, and how to find it.

    Attributes:
        name: its name on the hub.
        revision: a branch, tag or commit of its repository.
        dht_prefix: the prefix of its keys in the swarm; without it, the one that Petals derives.
        max_length: the most tokens that a session may hold, if that is less than the model can.
        draft: a small model of the same tokens that guesses how texts go on.
        adapter: a LoRA adapter that servers offer beside the model; the two together are served under its name.
        aliases: other names by which requests may name it.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=_NAME, max_length=200)]
    revision: str | None = None
    dht_prefix: Annotated[str, Field(pattern=r"^[^. ]+$")] | None = None
    max_length: Annotated[int, Field(ge=1)] | None = None
    draft: Annotated[str, Field(pattern=_NAME, max_length=200)] | None = None
    adapter: Annotated[str, Field(pattern=_NAME, max_length=200)] | None = None
    # YAML has lists alone
    aliases: Annotated[tuple[_Alias, ...], Field(strict=False)] = ()

    @property
    def served_as(self) -> str:
        """The name that requests call it by: the adapter's, if it has one."""
        return self.adapter or self.name

    @property
    def source(self) -> "ModelEntry":
        """What the model is loaded from, which other names for it do not change."""
        return self.model_copy(update={"aliases": ()})


class _Document(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    models: list[ModelEntry]


def read_model_file(path: Path) -> list[ModelEntry]:
    """Return what a file lists.

    Raises:
        FileNotFoundError: it is not there.
        InvalidSetting: it is not to be understood, or a name occurs twice.
    """
    try:
        document = yaml.safe_load(path.read_bytes())
        entries = _Document.model_validate(document).models
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _wrong(path, error.strerror or "it cannot be read") from error
    except (yaml.YAMLError, ValueError) as error:
        raise _wrong(path, _explained(error)) from None
    names = [name for entry in entries for name in (entry.served_as, *entry.aliases)]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise _wrong(path, f"the name {twice} occurs twice")
    return entries


def _wrong(path: Path, problem: str) -> InvalidSetting:
    return InvalidSetting(f"models file {path}: {problem}", "mend it; docs/endpoint.md shows one")


def _explained(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first: Any = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        return f"{place}: {first['msg'].lower()}" if place else first["msg"].lower()
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return "it is no YAML in UTF-8"
