"""A tick waits for sessions that come back fast, and for no others."""

import pytest

from services.swarm.serving.gathering import Gathering


class Clock:
    """Stands still until it is told to go on."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gathering(clock: Clock) -> Gathering:
    made = Gathering(clock)
    made.ticked(1.0, least=0.5)
    return made


def be_away(gathering: Gathering, clock: Clock, session: int, seconds: float) -> None:
    gathering.answered(session)
    clock.now += seconds
    gathering.came(session)


def test_nobody_is_waited_for_before_anybody_came_back(gathering: Gathering) -> None:
    gathering.answered(1)

    assert gathering.patience() == 0


def test_sessions_that_come_back_fast_are_waited_for(gathering: Gathering, clock: Clock) -> None:
    be_away(gathering, clock, 1, 0.1)
    gathering.answered(2)

    assert gathering.patience() == pytest.approx(0.2)


def test_nobody_is_waited_for_when_all_are_back(gathering: Gathering, clock: Clock) -> None:
    be_away(gathering, clock, 1, 0.1)

    assert gathering.patience() == 0


def test_who_does_not_come_back_is_given_up(gathering: Gathering, clock: Clock) -> None:
    be_away(gathering, clock, 1, 0.1)
    gathering.answered(2)
    clock.now += 0.15
    assert gathering.patience() == pytest.approx(0.05)
    clock.now += 0.06

    assert gathering.patience() == 0


def test_slow_clients_are_not_waited_for(gathering: Gathering, clock: Clock) -> None:
    be_away(gathering, clock, 1, 60.0)
    gathering.answered(1)

    assert gathering.patience() == 0


def test_who_is_back_later_than_a_small_tick_would_end_is_not_waited_for(
    gathering: Gathering, clock: Clock
) -> None:
    be_away(gathering, clock, 1, 0.6)
    gathering.answered(2)

    assert gathering.patience() == 0


def test_waiting_never_takes_longer_than_a_small_tick(gathering: Gathering, clock: Clock) -> None:
    be_away(gathering, clock, 1, 0.4)
    gathering.answered(2)

    assert gathering.patience() == pytest.approx(0.5)


def test_one_slow_client_among_fast_ones_changes_little(gathering: Gathering, clock: Clock) -> None:
    for _ in range(20):
        be_away(gathering, clock, 1, 0.01)
    be_away(gathering, clock, 2, 60.0)
    gathering.answered(1)

    assert gathering.patience() > 0
