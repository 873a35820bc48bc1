"""How the size of a tick follows the speed of the machine."""

import pytest

from services.swarm.serving.pace import Pace


def settled(pace: Pace, each: float, fixed: float = 0.0, ticks: int = 30) -> int:
    """Return the budget after ticks that used all of it in turns with ticks of one token; in seconds per token."""
    for _ in range(ticks):
        for tokens in (pace.budget, 1):
            pace.ticked(tokens, fixed + tokens * each)
    return pace.budget


def test_a_slow_machine_takes_as_many_tokens_as_pass_in_time() -> None:
    assert 38 <= settled(Pace(512, seconds=0.1), each=0.0025) <= 42


def test_what_every_tick_costs_leaves_less_time_for_tokens() -> None:
    assert 28 <= settled(Pace(512, seconds=0.1), each=0.0025, fixed=0.025) <= 32


def test_parts_of_a_prompt_are_not_so_small_that_the_fixed_cost_is_most_of_all() -> None:
    # At 16 tokens a tick, 0.3 of 0.316 seconds would go into reading weights again and again
    assert 280 <= settled(Pace(512, seconds=0.1), each=0.001, fixed=0.3) <= 320


def test_a_fast_machine_takes_as_many_as_are_allowed() -> None:
    assert settled(Pace(512, seconds=0.1), each=0.00001) == 512


def test_a_very_slow_machine_still_takes_a_few() -> None:
    assert settled(Pace(512, seconds=0.1), each=1.0) == 16


def test_a_few_may_be_all_that_is_allowed() -> None:
    assert settled(Pace(5, seconds=0.1), each=1.0) == 5


@pytest.mark.parametrize("tokens", [1, 16])
def test_ticks_of_one_size_alone_are_taken_at_their_word(tokens: int) -> None:
    pace = Pace(512, seconds=0.1)
    for _ in range(30):
        pace.ticked(tokens, tokens * 0.0025)

    assert pace.budget == 40


def test_a_tick_that_ran_nothing_teaches_nothing() -> None:
    pace = Pace(512, seconds=0.1)
    before = pace.budget

    pace.ticked(0, 5.0)

    assert pace.budget == before


def test_a_single_disturbed_tick_is_forgotten() -> None:
    pace = Pace(512, seconds=0.1)
    before = settled(pace, each=0.0005)

    pace.ticked(before, 30.0)

    assert pace.budget >= before // 2
    assert settled(pace, each=0.0005, ticks=5) == before
