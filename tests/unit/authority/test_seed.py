"""The pool's own seed: how its sidecar gets in, stays, and comes back from nothing on another machine."""

import io
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.authority.archive import restore, write_backup
from services.authority.authority import open_authority
from services.authority.serving import keep_seed_token
from services.authority.state_folder import StateFolder
from services.common.errors import Broken, Refused
from services.common.settings import AuthoritySettings
from services.common.token import JoinToken
from tests.unit.authority.authority_fakes import Clock, FakeSigner, Pool

LEASE = 60


@pytest.fixture
def path(settings: AuthoritySettings) -> Path:
    return settings.seed_token_file


def written(pool: Pool, path: Path) -> JoinToken:
    """Do what the authority does when it starts; return the token that lies there then."""
    pool.owner.seed_token(path)
    return JoinToken.parse(path.read_text())


def seed_tokens(pool: Pool) -> list[str]:
    return [token["state"] for token in pool.owner.tokens() if token["role"] == "seed"]


def test_the_token_lets_the_seed_in_once_over_the_loopback(pool: Pool, path: Path) -> None:
    token = written(pool, path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert token.authority == "127.0.0.1:7443"
    assert pool.enrol("seed", token).address == "10.77.0.1/16"
    with pytest.raises(Refused, match="used up, once"):
        pool.enrol("other", token, key=2)


def test_one_that_is_still_good_is_kept_for_who_reads_it(pool: Pool, path: Path, clock: Clock) -> None:
    first = written(pool, path)
    assert written(pool, path) == first

    clock.pass_by(24 * 3600)
    assert written(pool, path) != first


@pytest.mark.parametrize("content", [b"", b"\xff\xff", b"calyx1_x"])
def test_anything_else_in_its_place_is_replaced(pool: Pool, path: Path, content: bytes) -> None:
    path.write_bytes(content)

    assert pool.owner.check_token(written(pool, path).text())["role"] == "seed"


def test_no_token_is_written_while_a_seed_is_there(pool: Pool, path: Path) -> None:
    pool.enrol("seed", written(pool, path))
    path.unlink()
    pool.owner.seed_token(path)

    assert not path.exists()


def test_unused_tokens_do_not_pile_up(pool: Pool, path: Path) -> None:
    for _ in range(3):
        token = written(pool, path)
        path.unlink()

    assert seed_tokens(pool).count("valid") == 1
    assert pool.owner.check_token(token.text())["state"] == "valid"


def test_a_token_that_cannot_be_written_is_none(pool: Pool, tmp_path: Path) -> None:
    with pytest.raises(Broken, match="writing "):
        pool.owner.seed_token(tmp_path / "missing" / "token")

    assert seed_tokens(pool) == []


def test_a_seed_that_merely_restarts_keeps_its_place(pool: Pool, path: Path, clock: Clock) -> None:
    seed = pool.enrol("seed", written(pool, path))
    clock.pass_by(3600)
    unused = written(pool, path)
    back = pool.heartbeat(seed)

    assert [lighthouse.address for lighthouse in back.view.lighthouses] == ["10.77.0.1"]
    for name in ("seed", "other"):
        with pytest.raises(Refused, match="the pool's seed seed is there already — wait until its lease"):
            pool.enrol(name, unused, key=2)
    assert pool.states() == {"seed": "running"}
    assert len(seed_tokens(pool)) == 2


def test_who_has_the_place_of_a_worker_makes_no_way_for_a_seed(pool: Pool, path: Path, clock: Clock) -> None:
    pool.enrol("seed", key=1)
    token = written(pool, path)

    with pytest.raises(Refused, match="a node named seed is in the pool already"):
        pool.enrol("seed", token, key=2)
    clock.pass_by(LEASE)
    assert pool.enrol("seed", token, key=2).role == "seed"


class TestRestored:
    """A pool of a seed and a worker, whose authority went on to another machine with its backup alone."""

    @pytest.fixture
    def twin(
        self,
        pool: Pool,
        settings: AuthoritySettings,
        signer: FakeSigner,
        clock: Clock,
        path: Path,
        tmp_path: Path,
    ) -> Iterator[Pool]:
        self.seed = pool.enrol("seed", written(pool, path), key=1)
        self.worker = pool.enrol("alice", key=2)
        backup = io.BytesIO()
        write_backup(pool.authority, backup)
        backup.seek(0)
        other = settings.model_copy(
            update={"authority_dir": tmp_path / "other", "seed_token_file": tmp_path / "other_token"}
        )
        restore(StateFolder(other.authority_dir), backup, replace=False)
        twin = Pool(open_authority(other, signer), clock)
        yield twin
        twin.authority.database.close()

    def test_a_fresh_sidecar_takes_over_the_seed_s_name_and_address(self, twin: Pool, clock: Clock) -> None:
        clock.pass_by(LEASE)
        token = written(twin, twin.authority.settings.seed_token_file)
        fresh = twin.enrol("seed", token, key=3)

        assert (fresh.name, fresh.address, fresh.role) == ("seed", self.seed.address, "seed")
        told = twin.heartbeat(self.worker).view
        assert [lighthouse.address for lighthouse in told.lighthouses] == ["10.77.0.1"]
        assert len(told.blocklist) == 1
        with pytest.raises(Refused, match="another node took its place"):
            twin.heartbeat(self.seed)

    def test_a_sidecar_of_another_name_takes_over_the_address_too(self, twin: Pool, clock: Clock) -> None:
        clock.pass_by(LEASE)
        token = written(twin, twin.authority.settings.seed_token_file)

        assert twin.enrol("reed", token, key=3).address == self.seed.address
        assert twin.states()["seed"] == "left"

    def test_the_token_comes_by_itself_once_the_old_lease_is_over(self, twin: Pool, clock: Clock) -> None:
        path = twin.authority.settings.seed_token_file
        seen = []

        def stop_asked_within(seconds: float) -> bool:
            seen.append(path.exists())
            clock.pass_by(LEASE / 2)
            return len(seen) == 4

        keep_seed_token(twin.owner, path, stop_asked_within)

        assert seen == [False, False, True, True]
        assert twin.enrol("seed", JoinToken.parse(path.read_text()), key=3).address == self.seed.address


def test_a_failure_to_write_is_logged_and_tried_again(
    pool: Pool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "later" / "token"
    rounds = iter([False, False, True])

    def stop_asked_within(_: float) -> bool:
        if caplog.records:
            path.parent.mkdir(exist_ok=True)
        return next(rounds)

    keep_seed_token(pool.owner, path, stop_asked_within)

    assert [record.message for record in caplog.records] == ["the seed's token could not be written"]
    assert path.exists()
