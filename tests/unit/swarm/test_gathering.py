"""A tick waits for sessions that come back together, and not for those who would hold the others up."""

import pytest

from services.swarm.serving.gathering import Gathering

TICK = 0.1


class Clock:
    """Stands still until it is told to go on."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def closed() -> set[int]:
    return set()


def make_gathering(clock: Clock, closed: set[int], *, first: bool) -> Gathering:
    made = Gathering(lambda session: session not in closed, first=first, clock=clock)
    made.ticked(TICK)
    return made


@pytest.fixture
def gathering(clock: Clock, closed: set[int]) -> Gathering:
    return make_gathering(clock, closed, first=True)


def come_back(gathering: Gathering, clock: Clock, after: dict[int, float], times: int = 20) -> None:
    """Answer these sessions together, let each come back after so many seconds, and do that so many times."""
    for _ in range(times):
        answered = clock.now
        for session in after:
            gathering.answered(session)
        for session, seconds in sorted(after.items(), key=lambda one: one[1]):
            clock.now = answered + seconds
            gathering.came(session)


def test_nobody_is_waited_for_before_anybody_came_back(gathering: Gathering) -> None:
    gathering.answered(1)

    assert gathering.patience() == 0


def test_sessions_that_come_back_together_are_waited_for(gathering: Gathering, clock: Clock) -> None:
    come_back(gathering, clock, {1: 0.10, 2: 0.14})
    gathering.answered(1)
    gathering.answered(2)
    clock.now += 0.10
    gathering.came(1)

    assert gathering.patience() == pytest.approx(0.04, abs=0.001)


def test_nobody_is_waited_for_when_all_are_back(gathering: Gathering, clock: Clock) -> None:
    come_back(gathering, clock, {1: 0.1, 2: 0.1})

    assert gathering.patience() == 0


def test_groups_that_take_turns_become_one(gathering: Gathering, clock: Clock) -> None:
    come_back(gathering, clock, {1: 0.3, 2: 0.3})
    gathering.answered(2)
    clock.now += 0.1
    gathering.answered(1)
    clock.now += 0.2
    gathering.came(2)

    assert gathering.patience() == pytest.approx(0.1, abs=0.001)


def test_who_is_late_is_waited_for_as_long_as_usual_times_vary(gathering: Gathering, clock: Clock) -> None:
    come_back(gathering, clock, {1: 0.10, 2: 0.10})
    come_back(gathering, clock, {1: 0.10, 2: 0.16}, times=1)
    for session in (1, 2):
        gathering.answered(session)
    clock.now += 0.12
    gathering.came(1)
    assert 0 < gathering.patience() < TICK
    clock.now += gathering.patience()

    assert gathering.patience() == 0


def test_what_held_one_up_is_taken_to_hold_up_all(gathering: Gathering, clock: Clock) -> None:
    come_back(gathering, clock, {1: 0.10, 2: 0.12})
    for session in (1, 2):
        gathering.answered(session)
    clock.now += 0.5
    gathering.came(1)

    assert gathering.patience() == pytest.approx(0.02, abs=0.001)


def test_a_slow_client_does_not_hold_up_fast_ones(gathering: Gathering, clock: Clock) -> None:
    come_back(gathering, clock, {1: 0.1, 2: 0.25})
    for session in (1, 2):
        gathering.answered(session)
    clock.now += 0.1
    gathering.came(1)

    assert gathering.patience() == 0


def test_a_client_that_thinks_for_minutes_is_not_waited_for(gathering: Gathering, clock: Clock) -> None:
    come_back(gathering, clock, {1: 50.0, 2: 50.0}, times=3)
    for session in (1, 2):
        gathering.answered(session)
    clock.now += 48.0
    gathering.came(1)

    assert gathering.patience() == 0


def test_who_has_gone_is_not_waited_for(gathering: Gathering, clock: Clock, closed: set[int]) -> None:
    come_back(gathering, clock, {1: 0.1, 2: 0.1})
    for session in (1, 2):
        gathering.answered(session)
    clock.now += 0.09
    gathering.came(1)
    assert gathering.patience() > 0
    closed.add(2)

    assert gathering.patience() == 0


def test_who_comes_new_is_taken_for_one_like_the_others(gathering: Gathering, clock: Clock) -> None:
    come_back(gathering, clock, {1: 0.1})
    for session in (1, 2):
        gathering.answered(session)
    clock.now += 0.08
    gathering.came(1)

    assert gathering.patience() == pytest.approx(0.02, abs=0.001)


def test_a_first_token_does_not_wait_for_those_who_are_back_much_later(
    gathering: Gathering, clock: Clock
) -> None:
    come_back(gathering, clock, {1: 0.3, 2: 0.3})
    for session in (1, 2):
        gathering.answered(session)
    clock.now += 0.01
    gathering.came(3)
    assert gathering.patience() == 0
    clock.now += 0.25
    gathering.ticked(TICK)
    gathering.answered(3)
    gathering.came(4)

    assert gathering.patience() == pytest.approx(0.04, abs=0.001)


def test_behind_other_servers_only_those_are_waited_for_who_are_back_within_a_tick(
    clock: Clock, closed: set[int]
) -> None:
    behind = make_gathering(clock, closed, first=False)
    come_back(behind, clock, {1: 0.3, 2: 0.3})
    behind.answered(1)
    clock.now += 0.15
    behind.answered(2)
    clock.now += 0.15
    behind.came(1)
    assert behind.patience() == 0
    come_back(behind, clock, {1: 0.30, 2: 0.35})
    for session in (1, 2):
        behind.answered(session)
    clock.now += 0.3
    behind.came(1)

    assert behind.patience() > 0
