"""Opens the database, brings its schema up to date, and gives out transactions.

Whoever writes is alone: a transaction that writes begins with the database's one write lock, which SQLite has built
in and which is an advisory lock on PostgreSQL. So what a transaction read (an address is free, a token has a use
left) still holds when it writes, several authorities on one PostgreSQL included; the unique constraints would catch
a mistake in that. A pool writes a few rows a second at most, so waiting in line costs nothing.
"""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from services.authority.store import Store
from services.common.errors import Broken, Unavailable

logger = logging.getLogger("authority")
# Alembic tells with each connection what it supports; what it changed is logged here.
logging.getLogger("alembic").setLevel(logging.WARNING)

_MIGRATIONS = Path(__file__).with_name("migrations")
_BUSY_SECONDS = 30
_ADVISORY_LOCK = 0x43616C7978  # "Calyx": any number that no other program of that database takes
_WRITES = "calyx_writes"
# No wait is endless, and a server that is gone without a word is noticed before the nodes that wait give up.
_POSTGRESQL: dict[str, int | str] = {
    "options": f"-c lock_timeout={_BUSY_SECONDS}s",
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
}


class Database:
    """The authority's database.

    Args:
        url: SQLAlchemy's URL of an SQLite or a PostgreSQL database.
    """

    def __init__(self, url: str) -> None:
        # Messages of SQLAlchemy would quote hashes and names with the statement.
        self._engine = create_engine(
            url, hide_parameters=True, pool_pre_ping=True, connect_args=_connect_arguments(make_url(url))
        )
        self.is_sqlite = self._engine.dialect.name == "sqlite"
        if self.is_sqlite:
            event.listen(self._engine, "connect", _prepare_sqlite)
        event.listen(self._engine, "begin", _begin)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Store]:
        """Open a transaction that only reads."""
        with self._connection(writes=False) as connection:
            yield Store(connection)

    @contextmanager
    def write(self) -> Iterator[Store]:
        """Open a transaction that is alone; it is undone if the block raises."""
        with self._connection(writes=True) as connection:
            yield Store(connection)

    def migrate(self) -> None:
        """Bring the schema up to date; does nothing to one that is.

        Raises:
            Broken: a newer Calyx made it.
        """
        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        with self._connection(writes=True) as connection:
            found = MigrationContext.configure(connection).get_current_heads()
            if unknown := [revision for revision in found if revision not in known]:
                raise Broken(
                    f"opening the database: a newer Calyx made its schema ({unknown[0]})",
                    "run that version, or restore a backup that this one made",
                )
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            if found != (now := MigrationContext.configure(connection).get_current_heads()):
                logger.info("the database's schema was brought up to date", extra={"schema": ",".join(now)})

    def copy_to(self, path: Path) -> None:
        """Write a consistent copy of an SQLite database, also while others write to it.

        Raises:
            Broken: the copy cannot be written.
        """
        with self._connection(writes=False) as connection:
            source: Any = connection.connection.driver_connection
            try:
                with closing(sqlite3.connect(path)) as copy:
                    source.backup(copy)
            except sqlite3.Error as error:
                raise Broken(f"copying the database to {path.parent}: {error}", "check the disk") from error

    @contextmanager
    def _connection(self, writes: bool) -> Iterator[Connection]:
        try:
            with (
                self._engine.connect().execution_options(**{_WRITES: writes}) as connection,
                connection.begin(),
            ):
                yield connection
        except OperationalError as error:
            raise Unavailable(f"using the database: {error.orig}", "see the authority's log") from error
        except DBAPIError as error:
            kind = Unavailable if error.connection_invalidated else Broken
            raise kind(f"using the database: {error.orig}") from error
        except PoolTimeout as error:
            raise Unavailable("using the database: too many wait for it", "try again later") from error
        except SQLAlchemyError as error:
            raise Broken(f"using the database: {error}") from error


def integrity_of(path: Path) -> str:
    """Return ``ok``, or what SQLite finds wrong with its file."""
    try:
        with closing(sqlite3.connect(path)) as connection:
            return str(connection.execute("PRAGMA integrity_check").fetchone()[0])
    except sqlite3.DatabaseError as error:
        return str(error)


def _connect_arguments(url: URL) -> dict[str, int | str]:
    if url.get_backend_name() == "sqlite":
        return {}
    return {name: value for name, value in _POSTGRESQL.items() if name not in url.query}


def _prepare_sqlite(connection: Any, _: object) -> None:
    # Python's driver would begin transactions at a time of its own choice.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute(
        "PRAGMA synchronous = FULL"
    )  # a node that was told its address must be known after a crash
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
    elif writes:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
