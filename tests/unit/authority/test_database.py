"""The schema and its migrations, and what is said of a database that cannot be used."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine

from services.authority.authority import Authority
from services.authority.store_database import Database
from services.authority.store_schema import METADATA
from services.common.errors import Broken, Unavailable
from tests.unit.authority.authority_fakes import Pool


def file_of(authority: Authority) -> Path:
    return authority.state.database


def test_migrations_make_the_tables_that_the_code_sees(authority: Authority) -> None:
    engine = create_engine(f"sqlite:///{file_of(authority)}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    engine.dispose()


def test_migrating_again_changes_nothing(authority: Authority, pool: Pool) -> None:
    pool.enrol("alice")
    authority.database.migrate()

    assert pool.states() == {"alice": "running"}


def test_a_database_of_a_newer_schema_is_refused_and_left_as_it_is(authority: Authority) -> None:
    with closing(sqlite3.connect(file_of(authority))) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0999'")

    with pytest.raises(Broken, match=r"a newer Calyx made its schema \(0999\) — run that version"):
        authority.database.migrate()


def test_sqlite_is_set_up_for_many_readers_and_one_writer(authority: Authority) -> None:
    with authority.database._connection(writes=False) as connection:
        values = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "busy_timeout", "foreign_keys")
        }

    assert values == {"journal_mode": "wal", "busy_timeout": 30000, "foreign_keys": 1}


def test_a_transaction_that_fails_is_undone(authority: Authority, pool: Pool) -> None:
    token = pool.token()

    def fail() -> None:
        with authority.database.write() as store:
            store.revoke_token(token.id, 1)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with authority.database.read() as store:
        kept = store.token(token.id)
    assert kept is not None
    assert kept.revoked_at is None


def test_a_use_is_counted_only_while_one_is_left(authority: Authority, pool: Pool) -> None:
    token = pool.token(uses=1)
    with authority.database.write() as store:
        now = int(pool.clock())
        assert [store.spend_token(token.id, now) for _ in range(3)] == [True, False, False]
        assert store.spend_token("unknown", now) is False


def test_a_file_that_is_no_database_is_broken(tmp_path: Path) -> None:
    path = tmp_path / "authority.db"
    path.write_text("this is a letter, not a database, and long enough to be looked at " * 20)

    with pytest.raises(Broken, match="using the database: file is not a database"):
        Database(f"sqlite:///{path}").migrate()


def test_a_database_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="using the database: unable to open database file"):
        Database(f"sqlite:///{tmp_path}/missing/authority.db").migrate()


def test_a_server_that_is_down_is_unavailable_and_no_password_is_told() -> None:
    database = Database("postgresql+psycopg://calyx:secret-word@127.0.0.1:1/calyx?connect_timeout=2")

    with pytest.raises(Unavailable, match="using the database") as caught:
        database.migrate()
    assert "secret-word" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
