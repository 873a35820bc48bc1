"""The ledger: each entry once, under the node that had the address then, whatever ends in between."""

import io
import json
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text

from services.authority import store_database
from services.authority.archive import restore, write_backup
from services.authority.authority import open_authority
from services.authority.command_line import run
from services.authority.credits import Bookkeeper
from services.authority.serving import keep_ledger
from services.authority.state_folder import StateFolder
from services.authority.store_database import Database
from services.common.credits import ACCOUNT, LEDGER, Account, Entry, Ledger, NodeCredits, read_document
from services.common.errors import Broken, Unavailable
from tests.unit.authority.authority_fakes import START, Clock, Pool, bearer

OBSERVER = "0123456789abcdef"


class Books:
    """The folder as the exporter sees it, and the authority's side of it."""

    def __init__(self, pool: Pool, folder: Path) -> None:
        self.pool, self.folder = pool, folder
        self.entries: list[Entry] = []
        self.restart()

    def restart(self) -> None:
        self.keeper = Bookkeeper(self.pool.authority.database, self.folder, self.pool.clock)

    def share(self, address: str, begins_at: int = START, observer: str = OBSERVER, **values) -> None:
        entry = {
            "number": len(self.entries) + 1,
            "peer_id": "12D3KooWExamplePeer1",
            "address": address,
            "public_name": None,
            "model": "owner/name",
            "begins_at": begins_at,
            "ends_at": begins_at + 600,
            "block_seconds": 9000,
            "tokens": 0,
            "token_blocks": 0,
        }
        self.entries.append(Entry(**{**entry, **values}))
        account = Account(observer=observer, entries=self.entries)
        (self.folder / ACCOUNT).write_text(account.model_dump_json())

    @property
    def told(self) -> Ledger | None:
        return read_document(self.folder / LEDGER, Ledger)

    @property
    def sums(self) -> dict[str, int]:
        return {one["name"]: one["block_seconds"] for one in self.pool.owner.credits()}


@pytest.fixture
def books(pool: Pool, tmp_path: Path) -> Books:
    folder = tmp_path / "credits"
    folder.mkdir()
    return Books(pool, folder)


def address(node) -> str:
    return node.address.partition("/")[0]


def test_an_entry_is_booked_once_however_often_it_is_told(books: Books, pool: Pool) -> None:
    alice = pool.enrol("alice")
    books.share(address(alice), tokens=10, token_blocks=150, public_name="shelf")
    for _ in range(3):
        books.keeper.settle()
        books.restart()  # and no word of it came back

    sums = NodeCredits(
        node_id=alice.node_id,
        name="alice",
        public_name="shelf",
        block_seconds=9000,
        tokens=10,
        token_blocks=150,
    )
    assert books.told == Ledger(observer=OBSERVER, booked=1, nodes=[sums])
    assert pool.owner.credits() == [sums.model_dump()]


def test_another_observer_s_numbers_are_other_entries(books: Books, pool: Pool) -> None:
    alice = pool.enrol("alice")
    books.share(address(alice))
    books.keeper.settle()
    books.entries = []
    books.share(address(alice), observer="f" * 16)
    books.keeper.settle()

    assert books.sums == {"alice": 18000}


def test_an_address_is_whose_it_was_then(books: Books, pool: Pool, clock: Clock) -> None:
    alice = pool.enrol("alice")
    clock.pass_by(1000)
    pool.members.leave(bearer(alice))
    clock.pass_by(1000)
    bob = pool.enrol("bob", key=2)
    assert address(bob) == address(alice)

    books.share(address(alice), START + 900)
    books.share(address(alice), START + 1500, block_seconds=1)
    books.share(address(alice), START + 2000, block_seconds=2)
    books.keeper.settle()

    assert books.sums == {"alice": 9000, "bob": 2}


def test_an_address_of_no_node_is_nobody_s_and_not_told_again(books: Books, pool: Pool) -> None:
    pool.enrol("alice")
    books.share("172.18.0.4")
    books.share("<b>10.77.0.1</b>")
    books.keeper.settle()

    assert books.sums == {}
    assert books.told.booked == 2


def test_a_node_that_came_anew_is_another_and_the_last_public_name_counts(
    books: Books, pool: Pool, clock: Clock
) -> None:
    alice = pool.enrol("alice")
    books.share(address(alice), public_name="old")
    books.share(address(alice), START + 600, public_name="new", block_seconds=1)
    books.keeper.settle()

    assert [one["public_name"] for one in pool.owner.credits()] == ["new"]
    assert books.sums == {"alice": 9001}


def test_a_database_that_is_down_books_and_tells_nothing(books: Books, pool: Pool, tmp_path: Path) -> None:
    books.share(address(pool.enrol("alice")))
    down = Bookkeeper(Database(f"sqlite:///{tmp_path}/missing/x.db"), books.folder, pool.clock)
    with pytest.raises(Unavailable):
        down.settle()
    assert books.told is None

    books.keeper.settle()
    assert books.sums == {"alice": 9000}


@pytest.mark.parametrize("content", ["", "[]", '{"observer": "x", "entries": []}', '{"observer": 1}'])
def test_a_damaged_account_is_said_and_the_loop_goes_on(books: Books, content: str) -> None:
    (books.folder / ACCOUNT).write_text(content)
    with pytest.raises(Broken, match=r"reading .*account\.json: it is damaged"):
        books.keeper.settle()

    asked = iter([False, False, True])
    keep_ledger(books.keeper, lambda _: next(asked))
    assert next(asked, "over") == "over"


def test_amounts_below_nothing_are_not_taken(books: Books, pool: Pool) -> None:
    books.share(address(pool.enrol("alice")))
    path = books.folder / ACCOUNT
    path.write_text(path.read_text().replace('"block_seconds":9000', '"block_seconds":-9000'))

    with pytest.raises(Broken, match=r"damaged at entries\.0\.block_seconds"):
        books.keeper.settle()


def test_where_there_is_no_folder_nothing_is_counted(pool: Pool, tmp_path: Path) -> None:
    Bookkeeper(pool.authority.database, tmp_path / "none", pool.clock).settle()

    assert list(tmp_path.glob("none*")) == []


def test_a_backup_has_the_ledger(books: Books, pool: Pool, clock: Clock, signer, tmp_path: Path) -> None:
    books.share(address(pool.enrol("alice")))
    books.keeper.settle()
    archive = io.BytesIO()
    write_backup(pool.authority, archive)
    other = pool.authority.settings.model_copy(update={"authority_dir": tmp_path / "other"})
    restore(StateFolder(other.authority_dir), io.BytesIO(archive.getvalue()), replace=False)
    twin = open_authority(other, signer)

    assert Pool(twin, clock).owner.credits() == pool.owner.credits() != []
    twin.database.close()


def test_nodes_of_an_older_database_have_held_their_addresses(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/old.db"
    config = Config()
    config.set_main_option("script_location", str(store_database._MIGRATIONS))
    engine = create_engine(url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(text("INSERT INTO tokens VALUES ('t', 'worker', '', 1, 2, 1, 0, NULL)"))
        connection.execute(
            text(
                "INSERT INTO nodes (id, name, role, token_id, public_key, credential_hash, address, activity,"
                " joined_at, lease_until) VALUES ('n', 'a', 'worker', 't', '', '', '10.77.0.7', 'running', 1, 2)"
            )
        )
    engine.dispose()
    database = Database(url)
    database.migrate()

    with database.read() as store:
        assert store.holder("10.77.0.7", 5).name == "a"
        assert store.holder("10.77.0.7", 0) is None
    database.close()


def test_the_command_prints_them(books: Books, pool: Pool, capsys: pytest.CaptureFixture[str]) -> None:
    books.share(address(pool.enrol("alice")))
    books.keeper.settle()
    run(["credits"], pool.authority.settings)
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == ["alice"]
