"""The mesh's certificate authorities: made once, rotated with overlap, never outlived."""

import stat

import pytest

from services.authority.authority import Authority
from services.authority.certificates import Subject
from services.common.errors import Broken, Unavailable
from tests.unit.authority.authority_fakes import START, Clock, Pool, public_key, says

DAY = 24 * 3600


def bundle(authority: Authority, now: float) -> list[str]:
    return authority.authorities.bundle(int(now)).splitlines()


def test_the_first_is_made_once_and_its_key_is_nobody_else_s(authority: Authority) -> None:
    before = bundle(authority, START)
    authority.authorities.ensure()

    assert len(before) == 1
    assert bundle(authority, START) == before
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in authority.state.ca.iterdir()} == {
        "0001.crt": 0o600,
        "0001.key": 0o600,
    }


def test_a_rotation_signs_with_the_new_and_hands_out_both_until_the_old_ends(
    pool: Pool, clock: Clock
) -> None:
    authorities = pool.authority.authorities
    old = pool.enrol("alice", key=1)
    clock.pass_by(100 * DAY)
    pool.owner.rotate_ca()
    new = pool.enrol("bob", key=2)

    assert says(old.certificate)["issuer"] != says(new.certificate)["issuer"]
    assert len(new.view.ca.splitlines()) == 2
    assert len(pool.heartbeat(old).view.ca.splitlines()) == 2
    clock.pass_by(3550 * DAY)
    assert authorities.bundle(int(clock())) == new.view.ca.splitlines()[1] + "\n"
    assert pool.kinds()[-3:] == ["certificate authority made", "token created", "enrolled"]


def test_no_certificate_outlives_its_authority(pool: Pool, clock: Clock) -> None:
    clock.pass_by(3650 * DAY - 3600)
    node = pool.enrol("alice")

    assert node.expires_at == START + 3650 * DAY - 60
    assert clock() < node.renew_at < node.expires_at


def test_an_expired_authority_is_said_and_mended_by_a_rotation(pool: Pool, clock: Clock) -> None:
    clock.pass_by(3650 * DAY)
    with pytest.raises(Broken, match="has expired — make a new one: "):
        pool.enrol("alice")
    with pytest.raises(Unavailable, match="has expired"):
        pool.members.check()

    pool.owner.rotate_ca()
    pool.members.check()
    assert pool.enrol("alice").name == "alice"


def test_a_key_without_its_certificate_is_passed_over(authority: Authority) -> None:
    # What a crash leaves between the two files.
    (authority.state.ca / "0002.key").write_text("half\n")

    assert len(bundle(authority, START)) == 1
    authority.authorities.issue(Subject(public_key(), "a", "10.0.0.1/8", ("seed",)), START, 60)
    authority.authorities.rotate()
    assert len(bundle(authority, START)) == 2
    assert (authority.state.ca / "0002.key").read_text() == "the key\n"
