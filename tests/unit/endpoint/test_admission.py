"""Who is admitted: whose key it is, and whether it is good for one more."""

from collections.abc import Callable
from pathlib import Path

import pytest

from services.common.errors import InvalidInput, Unavailable
from services.endpoint.access.admission import Access, Ticket
from services.endpoint.access.keys import KeyFile, KeyRing
from services.endpoint.errors import OverLimit, Unauthorized
from tests.unit.endpoint.test_api_keys import BROKEN


class Bench:
    """An access whose time passes when the test says so."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = KeyFile(path)
        self.seconds = 1000.0
        self.access = self.another()

    def another(self) -> Access:
        return Access(self.file, clock=lambda: self.seconds, now=lambda: self.seconds)

    def create(self, name: str = "phone", **limits: int) -> str:
        keys: list[str] = []

        def add(ring: KeyRing) -> KeyRing:
            ring, key = ring.with_key(name, self.seconds, **limits)
            keys.append(key)
            return ring

        self.file.change(add)
        return keys[0]

    def admit(self, key: str) -> Ticket:
        return self.access.admit(f"Bearer {key}")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "keys.json")


def test_without_keys_everybody_is_admitted(bench: Bench) -> None:
    for authorization in (None, "", "Bearer anything"):
        with bench.access.admit(authorization) as ticket:
            ticket.spend()


def test_from_the_first_key_on_it_is_asked_for(bench: Bench) -> None:
    bench.access.admit(None)
    key = bench.create()

    bench.admit(key)
    for authorization in (None, "", "Bearer", "Bearer  ", f"Basic {key}", key, "Bearer " + "x" * 5000):
        with pytest.raises(Unauthorized, match="asks for an API key"):
            bench.access.admit(authorization)
    for wrong in (key[:-1], key + "x", key.upper(), "ö", "\udc80", "calyx-"):
        with pytest.raises(Unauthorized, match="not valid") as caught:
            bench.admit(wrong)
        assert wrong not in str(caught.value)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER "])
def test_the_scheme_is_not_case_sensitive(bench: Bench, scheme: str) -> None:
    key = bench.create()

    bench.access.admit(f"{scheme} {key} ")


def test_a_revoked_key_is_refused_at_its_next_request(bench: Bench) -> None:
    key = bench.create()
    with bench.admit(key) as ticket:
        bench.file.change(lambda ring: ring.without_key("phone"))
        with pytest.raises(Unauthorized):
            ticket.spend()
    with pytest.raises(Unauthorized):
        bench.admit(key)


def test_a_key_that_has_expired_is_refused(bench: Bench) -> None:
    key = bench.create(expires_in=60)
    ticket = bench.admit(key)

    bench.seconds += 60

    with pytest.raises(Unauthorized):
        ticket.spend()


def test_a_connection_from_before_the_first_key_needs_one_too(bench: Bench) -> None:
    ticket = bench.access.admit(None)
    bench.create()

    with pytest.raises(Unauthorized):
        ticket.spend()


def test_so_many_at_once_and_no_more(bench: Bench) -> None:
    key = bench.create(concurrency=2)
    first, second = bench.admit(key), bench.admit(key)

    with pytest.raises(OverLimit, match="the API key phone is used 2 times at once") as caught:
        bench.admit(key)
    assert caught.value.retry_after == 1
    first.close()
    first.close()
    third = bench.admit(key)
    with pytest.raises(OverLimit):
        bench.admit(key)
    second.close()
    third.close()


def test_answers_at_the_same_time_take_a_place_each(bench: Bench) -> None:
    key = bench.create(concurrency=3)
    with bench.admit(key) as ticket:
        ticket.widen(2)
        with bench.admit(key) as other:
            with pytest.raises(OverLimit, match="used 2 times at once, and is good for 3"):
                other.widen(2)
            with pytest.raises(InvalidInput, match="good for 3 answers at once, 4 are asked for"):
                other.widen(4)
            with pytest.raises(OverLimit):
                bench.admit(key)
        ticket.widen(3)
        with pytest.raises(OverLimit):
            bench.admit(key)
    bench.admit(key).widen(3)


def test_without_a_limit_or_a_key_there_are_as_many_as_one_likes(bench: Bench) -> None:
    bench.access.admit(None).widen(100)
    ticket = bench.admit(bench.create())
    ticket.widen(100)
    bench.file.forget()
    ticket.widen(200)
    ticket.close()


def test_a_place_is_given_back_however_a_request_ends(bench: Bench) -> None:
    key = bench.create(concurrency=1)

    with pytest.raises(KeyError), bench.admit(key):
        raise KeyError

    bench.admit(key)


def test_limits_of_one_key_are_not_those_of_another(bench: Bench) -> None:
    one, two = bench.create("one", concurrency=1), bench.create("two", concurrency=1)

    bench.admit(one)

    bench.admit(two)


def test_requests_per_minute_come_at_once_or_as_time_passes(bench: Bench) -> None:
    key = bench.create(requests_per_minute=6)
    ticket = bench.admit(key)

    for _ in range(6):
        ticket.spend()
    with pytest.raises(OverLimit, match="6 requests per minute — ask again in 10 s") as caught:
        ticket.spend()
    assert caught.value.retry_after == 10
    bench.seconds += 4
    with pytest.raises(OverLimit) as caught:
        bench.admit(key).spend()
    assert caught.value.retry_after == 6
    bench.seconds += 6
    ticket.spend()
    with pytest.raises(OverLimit):
        ticket.spend()


def test_who_asks_for_nothing_for_long_saves_up_no_more_than_a_minute(bench: Bench) -> None:
    ticket = bench.admit(bench.create(requests_per_minute=3))
    ticket.spend()

    bench.seconds += 3600

    for _ in range(3):
        ticket.spend()
    with pytest.raises(OverLimit):
        ticket.spend()


def test_another_key_does_not_give_back_what_was_spent(bench: Bench) -> None:
    key = bench.create(requests_per_minute=1)
    bench.admit(key).spend()

    bench.create("another")

    with pytest.raises(OverLimit):
        bench.admit(key).spend()


def test_nobody_is_asked_again_after_off(bench: Bench) -> None:
    key = bench.create()
    with bench.admit(key) as ticket:
        bench.file.forget()
        ticket.spend()
    bench.access.admit(None)


def spoil(path: Path) -> None:
    path.write_text("{")


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("happens", [spoil, remove])
def test_a_file_that_breaks_lets_nobody_in_until_it_is_mended(
    bench: Bench, happens: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    key = bench.create()
    bench.admit(key)

    happens(bench.path)

    for authorization in (None, f"Bearer {key}"):
        with pytest.raises(Unavailable, match="cannot be checked"):
            bench.access.admit(authorization)
    (logged,) = [one for one in caplog.records if one.levelname == "ERROR"]
    assert "nobody is let in" in logged.message
    bench.path.unlink(missing_ok=True)
    bench.admit(bench.create())


@pytest.mark.parametrize("content", BROKEN)
def test_a_file_that_is_broken_from_the_start_lets_nobody_in(bench: Bench, content: str | bytes) -> None:
    bench.path.write_bytes(content if isinstance(content, bytes) else content.encode())

    with pytest.raises(Unavailable):
        bench.access.admit(None)
    bench.path.unlink()
    with pytest.raises(Unavailable):
        bench.access.admit(None)


def test_a_place_that_cannot_be_looked_at_lets_nobody_in(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(Unavailable):
        Access(KeyFile(tmp_path / "file" / "keys.json")).admit(None)
