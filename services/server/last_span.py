"""Which blocks this server held last, so that it holds the same after a pause or a reboot, and downloads nothing."""

import logging
from pathlib import Path

from pydantic import BaseModel, ValidationError

from services.common.errors import CalyxError
from services.common.files import replace_file

logger = logging.getLogger(__name__)

_ENOUGH = 0.9
"""Free memory is never twice the same: as many blocks as this part of what fits now are not worth a new choice."""


class _Record(BaseModel):
    model: str
    revision: str | None
    first: int
    end: int


class LastSpan:
    """The blocks that a server held last, in a file beside its identity.

    Args:
        path: the file.
        model: the model that is to be served.
        revision: what of its repository; None for the default branch.
        depth: how many blocks the model has.
    """

    def __init__(self, path: Path, model: str, revision: str | None, depth: int) -> None:
        self._path, self._model, self._revision, self._depth = path, model, revision, depth

    def recall(self, count: int, *, exactly: bool) -> range | None:
        """Return blocks of this model to hold again, or None if they are to be chosen.

        Args:
            count: how many blocks are to be held.
            exactly: whether the user wants that number; otherwise so many fit into memory, and about as many do.
        """
        last = self._read()
        if last is None:
            return None
        if exactly:
            return last if len(last) == count else None
        return last[:count] if len(last) >= _ENOUGH * count else None

    def remember(self, span: range) -> None:
        """Note that these blocks are held; a disk that takes no more is not worth a server."""
        record = _Record(model=self._model, revision=self._revision, first=span.start, end=span.stop)
        try:
            replace_file(self._path, record.model_dump_json() + "\n")
        except CalyxError as error:
            logger.warning("after a restart other blocks may be chosen: %s", error)

    def _read(self) -> range | None:
        try:
            record = _Record.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            reason = str(error).splitlines()[0]
            logger.warning("choosing blocks anew: %s is unreadable: %s", self._path, reason)
            return None
        same = (record.model, record.revision) == (self._model, self._revision)
        if not (same and 0 <= record.first < record.end <= self._depth):
            return None
        return range(record.first, record.end)
