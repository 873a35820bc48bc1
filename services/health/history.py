"""What the last day looked like: a ring of minutes in SQLite, so that a restart does not forget it."""

import logging
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from services.health.snapshot import Model

log = logging.getLogger("health")

MINUTES = 24 * 60
"""Minutes that are kept; with the bound on models at most 46,080 rows, about 3 MB."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS minute (
    model TEXT NOT NULL,
    slot INTEGER NOT NULL,
    minute INTEGER NOT NULL,
    blocks INTEGER NOT NULL,
    blocks_online INTEGER NOT NULL,
    servers_online INTEGER NOT NULL,
    PRIMARY KEY (model, slot)
) WITHOUT ROWID
"""


@dataclass(frozen=True)
class Point:
    """One minute of a model: ``minute`` counts from the epoch; of several looks the worst counts."""

    minute: int
    blocks: int
    blocks_online: int
    servers_online: int

    @property
    def ready(self) -> bool:
        """Whether each block had a copy."""
        return self.blocks_online >= self.blocks


class History:
    """The ring. Losing it costs the plot of the last day and nothing else, so its errors are logged, not raised.

    Args:
        path: the database; a file that cannot be used is replaced by memory.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        try:
            self._database = _open(str(path))
        except sqlite3.Error as error:
            log.warning(
                "history is kept in memory", extra={"reason": f"{path}: {error}; is its folder writable?"}
            )
            self._database = _open(":memory:")

    def record(self, models: Sequence[Model], now: float) -> None:
        """Add what was seen at ``now``, in seconds since the epoch."""
        minute = int(now // 60)
        rows = [
            (
                model.name,
                minute % MINUTES,
                minute,
                model.num_blocks,
                model.num_blocks - len(model.missing_blocks),
                model.counts["online"],
            )
            for model in models
        ]
        try:
            with self._lock, self._database:
                self._database.executemany(
                    """
                    INSERT INTO minute VALUES (?, ?, ?, ?, ?, ?)
                    ON CONFLICT (model, slot) DO UPDATE SET
                        blocks = excluded.blocks,
                        blocks_online = iif(
                            minute = excluded.minute,
                            min(blocks_online, excluded.blocks_online),
                            excluded.blocks_online
                        ),
                        servers_online = iif(
                            minute = excluded.minute,
                            min(servers_online, excluded.servers_online),
                            excluded.servers_online
                        ),
                        minute = excluded.minute
                    """,
                    rows,
                )
                self._database.execute("DELETE FROM minute WHERE minute <= ?", (minute - MINUTES,))
                # A clock that went back leaves minutes that are yet to come
                self._database.execute("DELETE FROM minute WHERE minute > ?", (minute,))
        except sqlite3.Error as error:
            log.warning("history misses a minute", extra={"reason": str(error)})

    def points(self, model: str, since: float = 0.0) -> list[Point]:
        """Return the minutes of a model since a moment, ascending."""
        try:
            with self._lock:
                rows = self._database.execute(
                    "SELECT minute, blocks, blocks_online, servers_online FROM minute"
                    " WHERE model = ? AND minute >= ? ORDER BY minute",
                    (model, int(since // 60)),
                ).fetchall()
        except sqlite3.Error as error:
            log.warning("history cannot be read", extra={"reason": str(error)})
            return []
        return [Point(*row) for row in rows]

    def close(self) -> None:
        """Close the database."""
        self._database.close()


def _open(path: str) -> sqlite3.Connection:
    database = sqlite3.connect(path, check_same_thread=False, timeout=2)
    # A full disk or a power cut may lose the last minutes, never the file
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute(_SCHEMA)
    return database
