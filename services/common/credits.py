"""What the health exporter and the authority of a pool tell each other of shared work.

Each writes one file of a folder that both see, and reads the other's: ``account.json`` holds what was observed and is
perhaps not booked yet, ``ledger.json`` what is. A file may be read twice, or never: what it says stays true.
"""

from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from services.common.errors import Broken

ACCOUNT, LEDGER = "account.json", "ledger.json"
MAX_BYTES = 16 * 1024**2
MAX_LABEL = 200

_Count = Annotated[int, Field(ge=0, le=2**62)]
_Label = Annotated[str, StringConstraints(max_length=MAX_LABEL)]


class _Document(BaseModel):
    # Fields of later versions are passed over
    model_config = ConfigDict(frozen=True, extra="ignore")


_Form = TypeVar("_Form", bound=_Document)


class Entry(_Document):
    """What one peer shared of one model from ``begins_at`` to ``ends_at`` (seconds since the epoch); never changed.

    ``address`` is where the peer was connected, and says whose this is; ``public_name``, what it calls itself, does
    not. A token that passed through five blocks counts once in ``tokens``, five times in ``token_blocks``.
    """

    number: Annotated[int, Field(ge=1, le=2**62)]
    peer_id: _Label
    address: _Label
    public_name: _Label | None
    model: _Label
    begins_at: _Count
    ends_at: _Count
    block_seconds: _Count
    tokens: _Count
    token_blocks: _Count


class Account(_Document):
    """Entries of one observer in ascending order; its name and their numbers together exist once."""

    observer: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
    entries: list[Entry]


class NodeCredits(_Document):
    """What one node shared in all its time, by the name that it and its server had last."""

    node_id: str
    name: str
    public_name: str | None
    block_seconds: int
    tokens: int
    token_blocks: int


class Ledger(_Document):
    """The sums, and that of ``observer`` all entries up to the number ``booked`` are in them."""

    observer: str | None = None
    booked: int = 0
    nodes: list[NodeCredits] = []


def read_document(path: Path, form: type[_Form]) -> _Form | None:
    """Return what a file holds, None if there is no file.

    Raises:
        Broken: it cannot be read, or holds something else.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise Broken(f"reading {path}: it is longer than {MAX_BYTES} bytes", "remove it")
        return form.model_validate_json(content)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Broken(f"reading {path}: {error.strerror}", "check the disk") from error
    except ValidationError as error:
        where = ".".join(map(str, error.errors(include_input=False)[0]["loc"]))
        raise Broken(f"reading {path}: it is damaged at {where or 'its begin'}", "remove it") from error
