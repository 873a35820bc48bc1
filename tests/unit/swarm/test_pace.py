"""How the size of a tick follows the speed of the machine."""

from services.swarm.serving.pace import Pace


def settled(pace: Pace, seconds_per_token: float, ticks: int = 20) -> int:
    """Return the budget after so many ticks that used all of it."""
    for _ in range(ticks):
        pace.ticked(pace.budget, pace.budget * seconds_per_token)
    return pace.budget


def test_a_slow_machine_takes_as_many_tokens_as_pass_in_time() -> None:
    assert 38 <= settled(Pace(512, seconds=0.1), seconds_per_token=0.0025) <= 42


def test_a_fast_machine_takes_as_many_as_are_allowed() -> None:
    assert settled(Pace(512, seconds=0.1), seconds_per_token=0.00001) == 512


def test_a_very_slow_machine_still_takes_a_few() -> None:
    assert settled(Pace(512, seconds=0.1), seconds_per_token=1.0) == 16


def test_a_few_may_be_all_that_is_allowed() -> None:
    assert settled(Pace(5, seconds=0.1), seconds_per_token=1.0) == 5


def test_ticks_that_are_nearly_empty_teach_nothing() -> None:
    pace = Pace(512, seconds=0.1)
    before = pace.budget

    pace.ticked(1, 0.05)
    pace.ticked(before // 2, 5.0)

    assert pace.budget == before


def test_a_single_disturbed_tick_costs_half_at_most() -> None:
    pace = Pace(512, seconds=0.1)
    settled(pace, seconds_per_token=0.0005)
    before = pace.budget

    pace.ticked(before, 30.0)

    assert pace.budget == before // 2
    assert settled(pace, seconds_per_token=0.0005, ticks=1) == before
