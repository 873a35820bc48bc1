"""The mesh's certificate authorities: made once, rotated with overlap, never outlived."""

import io
import stat

import pytest

from services.authority.archive import restore, write_backup
from services.authority.authority import Authority, open_authority
from services.authority.certificates import Subject
from services.authority.state_folder import StateFolder
from services.authority.tls import ensure_tls
from services.common.errors import Broken, Unavailable
from services.common.settings import AuthoritySettings
from tests.unit.authority.authority_fakes import START, Clock, FakeSigner, Pool, bearer, public_key, says

DAY = 24 * 3600
LEASE = 60


def bundle(authority: Authority, now: float) -> list[str]:
    return authority.authorities.bundle(int(now)).splitlines()


def renew(pool: Pool, node, key: int = 0) -> str:
    """Renew a node's certificate; return who signed it."""
    return says(pool.members.renew(bearer(node), public_key(key)).certificate)["issuer"]


def test_the_first_is_made_once_and_its_key_is_nobody_else_s(authority: Authority) -> None:
    before = bundle(authority, START)
    authority.authorities.ensure()

    assert len(before) == 1
    assert bundle(authority, START) == before
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in authority.state.ca.iterdir()} == {
        "0001.crt": 0o600,
        "0001.key": 0o600,
    }


class TestRotation:
    """An authority of 3650 days, certificates of a day, a lease of a minute."""

    def test_a_new_authority_is_trusted_at_once_and_signs_after_a_lease(
        self, pool: Pool, clock: Clock
    ) -> None:
        alice = pool.enrol("alice", key=1)
        first = says(alice.certificate)["issuer"]
        clock.pass_by(100)
        made = pool.owner.rotate_ca()

        assert made["signs_from"] == START + 100 + LEASE
        assert len(pool.heartbeat(alice).view.ca.splitlines()) == 2
        clock.pass_by(LEASE - 1)
        assert pool.heartbeat(alice).renew is False
        assert renew(pool, alice, key=1) == first
        clock.pass_by(1)
        assert pool.heartbeat(alice).renew is True
        assert renew(pool, alice, key=1) == made["fingerprint"]
        assert pool.heartbeat(alice).renew is False
        assert says(pool.enrol("bob", key=2).certificate)["issuer"] == made["fingerprint"]

    def test_the_old_one_is_trusted_until_its_last_certificate_is_over(
        self, pool: Pool, clock: Clock
    ) -> None:
        old = bundle(pool.authority, START)
        made = pool.owner.rotate_ca()
        clock.pass_by(LEASE - 1)
        last = pool.enrol("alice").expires_at
        both = bundle(pool.authority, clock())

        assert both[:1] == old
        assert made["older_trusted_until"] == last + 1
        assert bundle(pool.authority, last) == both
        assert bundle(pool.authority, last + 1) == both[1:]

    def test_a_node_that_was_away_meanwhile_is_led_to_the_new_one(self, pool: Pool, clock: Clock) -> None:
        alice = pool.enrol("alice")
        made = pool.owner.rotate_ca()
        clock.pass_by(30 * DAY)

        back = pool.heartbeat(alice)
        assert (len(back.view.ca.splitlines()), back.renew) == (1, True)
        assert renew(pool, alice) == made["fingerprint"]

    def test_everybody_is_told_when_the_newest_ends(self, pool: Pool, clock: Clock) -> None:
        alice = pool.enrol("alice")
        assert alice.view.ca_expires_at == START + 3650 * DAY
        clock.pass_by(DAY)
        made = pool.owner.rotate_ca()

        assert pool.heartbeat(alice).view.ca_expires_at == made["expires_at"] == START + 3651 * DAY

    def test_a_second_rotation_within_a_lease_does_not_hasten_the_first(
        self, pool: Pool, clock: Clock
    ) -> None:
        alice = pool.enrol("alice")
        first = says(alice.certificate)["issuer"]
        second = pool.owner.rotate_ca()["fingerprint"]
        clock.pass_by(LEASE - 1)
        third = pool.owner.rotate_ca()["fingerprint"]

        assert renew(pool, alice) == first
        clock.pass_by(1)
        assert renew(pool, alice) == second
        clock.pass_by(LEASE - 1)
        assert renew(pool, alice) == third
        assert len(bundle(pool.authority, clock())) == 3
        assert len(bundle(pool.authority, clock() + DAY - LEASE + 1)) == 2
        assert len(bundle(pool.authority, clock() + DAY)) == 1

    def test_it_goes_on_as_before_on_another_machine(
        self, pool: Pool, settings: AuthoritySettings, signer: FakeSigner, clock: Clock, tmp_path
    ) -> None:
        alice = pool.enrol("alice")
        made = pool.owner.rotate_ca()
        ensure_tls(pool.authority.state, "calyx")
        backup = io.BytesIO()
        write_backup(pool.authority, backup)
        backup.seek(0)
        clock.pass_by(LEASE)
        other = settings.model_copy(update={"authority_dir": tmp_path / "other"})
        restore(StateFolder(other.authority_dir), backup, replace=False)
        twin = Pool(open_authority(other, signer), clock)

        assert twin.heartbeat(alice).renew is True
        assert renew(twin, alice) == made["fingerprint"]
        assert bundle(twin.authority, made["older_trusted_until"] - 1) == bundle(pool.authority, clock())
        assert len(bundle(twin.authority, made["older_trusted_until"])) == 1
        twin.authority.database.close()

    def test_it_is_noted(self, pool: Pool) -> None:
        pool.owner.rotate_ca()

        assert pool.kinds() == ["certificate authority made"]


def test_no_certificate_outlives_its_authority(pool: Pool, clock: Clock) -> None:
    clock.pass_by(3650 * DAY - 3600)
    node = pool.enrol("alice")

    assert node.expires_at == START + 3650 * DAY - 60
    assert clock() < node.renew_at < node.expires_at


class TestSeconds:
    """Lifetimes as short as tests of a running pool need them."""

    @pytest.fixture
    def settings(self, settings: AuthoritySettings) -> AuthoritySettings:
        return settings.model_copy(
            update={"ca_lifetime": 60, "certificate_lifetime": 15, "lease_seconds": 10}
        )

    def test_they_work_from_the_first_second_to_the_last_but_few(self, pool: Pool, clock: Clock) -> None:
        alice = pool.enrol("alice")
        assert (alice.expires_at, alice.renew_at) == (START + 15, START + 10)
        clock.pass_by(53)
        assert pool.members.renew(bearer(alice), public_key()).expires_at == START + 54
        clock.pass_by(1)
        with pytest.raises(Broken, match="has expired"):
            pool.members.renew(bearer(alice), public_key())

    def test_the_mesh_outlives_its_first_authority(self, pool: Pool, clock: Clock) -> None:
        alice = pool.enrol("alice")
        for _ in range(3):
            clock.pass_by(30)
            made = pool.owner.rotate_ca()
            clock.pass_by(10)
            assert pool.heartbeat(alice).renew is True
            assert renew(pool, alice) == made["fingerprint"]
        assert len(pool.heartbeat(alice).view.ca.splitlines()) == 2


def test_an_expired_authority_is_said_and_its_successor_signs_at_once(pool: Pool, clock: Clock) -> None:
    clock.pass_by(3650 * DAY)
    with pytest.raises(Broken, match="has expired — make a new one: "):
        pool.enrol("alice")
    with pytest.raises(Unavailable, match="has expired"):
        pool.members.check()

    made = pool.owner.rotate_ca()
    assert made["signs_from"] == clock()
    pool.members.check()
    assert says(pool.enrol("alice").certificate)["issuer"] == made["fingerprint"]


def test_a_successor_waits_no_longer_than_there_is_somebody_to_wait_for(pool: Pool, clock: Clock) -> None:
    clock.pass_by(3650 * DAY - 60 - 20)
    made = pool.owner.rotate_ca()

    assert made["signs_from"] == clock() + 20


def test_a_key_without_its_certificate_is_passed_over(authority: Authority) -> None:
    # What a crash leaves between the two files.
    (authority.state.ca / "0002.key").write_text("half\n")

    assert len(bundle(authority, START)) == 1
    authority.authorities.issue(Subject(public_key(), "a", "10.0.0.1/8", ("seed",)), START)
    authority.authorities.rotate()
    assert len(bundle(authority, START)) == 2
    assert (authority.state.ca / "0002.key").read_text() == "the key\n"
