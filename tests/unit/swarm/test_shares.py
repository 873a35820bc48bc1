"""A tick's tokens among the steps that wait: within the budget, nobody forgotten, nothing wasted on the long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.swarm.serving.shares import Need, share

NEEDS = st.lists(st.builds(Need, st.integers(1, 5), st.integers(1, 300)), min_size=1, max_size=20)


@pytest.mark.parametrize(
    ("needs", "budget", "shares"),
    [
        ([(1, 1), (1, 1)], 8, [1, 1]),
        ([(1, 1), (1, 2000)], 8, [1, 7]),
        ([(1, 2000), (1, 20)], 64, [44, 20]),
        ([(1, 2000), (1, 3000)], 64, [64, 0]),
        ([(1, 3000), (1, 2000)], 64, [32, 32]),
        ([(1, 20), (1, 20), (1, 20), (1, 1)], 64, [20, 20, 20, 1]),
        ([(1, 20), (1, 20), (1, 20), (1, 1)], 46, [20, 20, 0, 1]),
        ([(1, 1), (1, 20), (1, 2000)], 64, [1, 20, 0]),
        ([(1, 1), (1, 2000), (1, 20), (1, 20)], 31, [1, 10, 20, 0]),
        ([(1, 1)] * 5, 3, [1, 1, 1, 0, 0]),
        ([(9, 4)], 3, [1]),
        ([(4, 10), (1, 1)], 9, [2, 1]),
    ],
)
def test_shares(needs: list[tuple[int, int]], budget: int, shares: list[int]) -> None:
    assert share([Need(*need) for need in needs], budget) == shares


@given(NEEDS, st.integers(1, 200))
def test_the_budget_holds_and_the_first_always_gets_on(needs: list[Need], budget: int) -> None:
    shares = share(needs, budget)

    assert shares[0] >= 1
    assert all(0 <= given <= need.tokens for given, need in zip(shares, needs, strict=True))
    spent = sum(given * need.rows for given, need in zip(shares, needs, strict=True))
    assert spent <= max(budget, needs[0].rows)
