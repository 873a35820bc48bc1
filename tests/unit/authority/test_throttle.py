"""How guessing is slowed down, by an injected clock."""

import pytest

from services.authority.errors import TooManyAttempts
from services.authority.throttle import MAX_SOURCES, MEMORY_SECONDS, Throttle
from tests.unit.authority.authority_fakes import Clock


@pytest.fixture
def throttle(clock: Clock) -> Throttle:
    return Throttle(clock)


def wait(throttle: Throttle, source: str = "192.0.2.1") -> int:
    try:
        throttle.check(source)
    except TooManyAttempts as error:
        return error.retry_after
    return 0


def test_nobody_waits_at_first(throttle: Throttle) -> None:
    assert wait(throttle) == 0


def test_each_wrong_secret_doubles_the_wait(throttle: Throttle, clock: Clock) -> None:
    waits = []
    for _ in range(12):
        throttle.failed("192.0.2.1")
        waits.append(wait(throttle))
        clock.pass_by(waits[-1])
        assert wait(throttle) == 0

    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]


def test_others_do_not_wait(throttle: Throttle) -> None:
    throttle.failed("192.0.2.1")

    assert wait(throttle, "192.0.2.2") == 0


def test_a_customer_s_whole_ipv6_network_is_one_place(throttle: Throttle) -> None:
    throttle.failed("2001:db8:0:1::1")

    assert wait(throttle, "2001:db8:0:1:ffff::2") == 1
    assert wait(throttle, "2001:db8:0:2::1") == 0


def test_after_an_hour_it_begins_anew(throttle: Throttle, clock: Clock) -> None:
    for _ in range(5):
        throttle.failed("192.0.2.1")
    clock.pass_by(MEMORY_SECONDS)
    throttle.failed("192.0.2.1")

    assert wait(throttle) == 1


def test_memory_is_bounded(throttle: Throttle) -> None:
    for number in range(MAX_SOURCES + 1):
        throttle.failed(f"host-{number}")

    assert wait(throttle, "host-0") == 0
    assert wait(throttle, f"host-{MAX_SOURCES}") == 1


def test_millions_of_failures_are_a_number_like_others(throttle: Throttle) -> None:
    for _ in range(2000):
        throttle.failed("192.0.2.1")

    assert wait(throttle) == 900
