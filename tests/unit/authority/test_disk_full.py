"""A disk that takes no more: whatever fails then leaves nothing half done, and works once there is room."""

from collections.abc import Callable
from pathlib import Path

import pytest

from services.authority.answers import Enrolled
from services.authority.archive import write_backup
from services.authority.state_folder import new_secret_file
from services.common.errors import Broken, Unavailable
from services.common.token import JoinToken
from tests.unit.authority.authority_fakes import Clock, Pool, bearer, public_key
from tests.unit.full_disk import full_disk


def everything(pool: Pool) -> dict[str, object]:
    """Return all that is stored, in the database and in files."""
    with pool.authority.database.read() as store:
        events, blocked = store.events(), store.blocklist(int(pool.clock()))
    keys = {path.name: path.read_bytes() for path in pool.authority.state.ca.iterdir()}
    return {
        "nodes": pool.owner.nodes(),
        "tokens": pool.owner.tokens(),
        "events": events,
        "blocked": blocked,
        "keys": keys,
    }


WRITES: dict[str, Callable[[Pool, Enrolled, JoinToken], object]] = {
    "enrolling": lambda pool, node, token: pool.enrol("bob", token, key=2),
    "a heartbeat": lambda pool, node, token: pool.members.heartbeat(bearer(node), "paused", "0:1", "m"),
    "renewing": lambda pool, node, token: pool.members.renew(bearer(node), public_key(3)),
    "leaving": lambda pool, node, token: pool.members.leave(bearer(node)),
    "revoking a node": lambda pool, node, token: pool.owner.revoke_node("alice", "x"),
    "revoking a token": lambda pool, node, token: pool.owner.revoke_token(token.id),
    "making a token": lambda pool, node, token: pool.owner.create_token("worker", 60, 1),
    "rotating": lambda pool, node, token: pool.owner.rotate_ca(),
}


@pytest.mark.parametrize("what", WRITES)
def test_what_fails_changes_nothing_and_can_be_repeated(pool: Pool, clock: Clock, what: str) -> None:
    token = pool.token(uses=1)
    alice = pool.enrol("alice", key=1)
    clock.pass_by(1)
    before = everything(pool)
    with (
        full_disk(),
        pytest.raises((Unavailable, Broken), match=r"using the database: disk|writing .*: File too"),
    ):
        WRITES[what](pool, alice, token)

    assert everything(pool) == before
    WRITES[what](pool, alice, token)
    assert everything(pool) != before


def test_a_seed_s_token_that_finds_no_room_is_none(pool: Pool, tmp_path: Path) -> None:
    before = everything(pool)
    with full_disk(), pytest.raises((Unavailable, Broken)):
        pool.owner.seed_token(tmp_path / "token")

    assert everything(pool) == before
    assert not (tmp_path / "token").exists()


def test_half_a_backup_is_removed(pool: Pool, tmp_path: Path) -> None:
    path = tmp_path / "backup"
    before = everything(pool)
    with (
        pytest.raises(Broken, match=r"copying the database to .*: disk I/O error — check the disk"),
        new_secret_file(path) as file,
        full_disk(),
    ):
        write_backup(pool.authority, file)

    assert not path.exists()
    assert not list(pool.authority.state.path.glob("calyx-backup-*"))
    assert everything(pool) == before
