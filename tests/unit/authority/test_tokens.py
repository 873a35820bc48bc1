"""The rules of tokens, without a database."""

import pytest

from services.authority.tokens import Token, hash_of, matches, new_token
from services.common.errors import InvalidInput, Refused

NOW = 1_800_000_000


def made(ttl: int = 60, uses: int = 2) -> Token:
    return new_token("worker", ttl, uses, NOW)[0]


def changed(token: Token, **values: object) -> Token:
    return Token(**{**vars(token), **values})


def test_a_secret_is_random_long_and_kept_only_as_its_hash() -> None:
    (one, secret), (_, other) = new_token("worker", 60, 1, NOW), new_token("worker", 60, 1, NOW)

    assert secret != other
    assert len(secret) >= 43
    assert secret not in repr(one)
    assert one.secret_hash == hash_of(secret)
    assert matches(secret, one.secret_hash)
    assert not matches(other, one.secret_hash)


def test_nothing_matches_a_token_that_is_not_there() -> None:
    assert not matches("", None)
    assert not matches("", "")
    assert not matches("\ud800", hash_of("x"))


def test_it_is_good_until_the_second_it_expires() -> None:
    made(ttl=60).check(NOW + 59)

    with pytest.raises(
        Refused, match=r"expired at 2027-01-15 08:01:00 UTC — ask the pool's owner for a new token"
    ):
        made(ttl=60).check(NOW + 60)


def test_it_is_good_for_its_uses() -> None:
    changed(made(uses=2), used=1).check(NOW)

    with pytest.raises(Refused, match="this token is used up, 2 times"):
        changed(made(uses=2), used=2).check(NOW)
    with pytest.raises(Refused, match="this token is used up, once"):
        changed(made(uses=1), used=1).check(NOW)


def test_a_revoked_one_says_so_before_anything_else() -> None:
    with pytest.raises(Refused, match="this token was revoked"):
        changed(made(), used=2, revoked_at=NOW).check(NOW + 10**6)


@pytest.mark.parametrize(("ttl", "uses"), [(0, 1), (-1, 1), (367 * 86400, 1), (60, 0), (60, -5), (60, 10**6)])
def test_bounds_are_kept(ttl: int, uses: int) -> None:
    with pytest.raises(InvalidInput, match="creating a token: it must"):
        new_token("worker", ttl, uses, NOW)
