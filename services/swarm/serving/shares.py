"""How a tick's tokens are divided among the steps that wait."""

from collections.abc import Sequence
from typing import NamedTuple


class Need(NamedTuple):
    """What a step still has to run: ``tokens`` in each of its ``rows``."""

    rows: int
    tokens: int


def share(needs: Sequence[Need], budget: int, chunk: int = 1) -> list[int]:
    """Return how many tokens of each row run now, for each step; 0 for those that wait for the next tick.

    Who comes first is served first: as many steps as the budget allows get one token, so decoding never waits for a
    prompt. What is left is divided equally, and what short prompts do not need goes to the long ones.

    Args:
        needs: in the order of arrival.
        budget: the most tokens of all rows together. The first step gets one token even if its rows are more.
        chunk: a step that does not run to its end runs a multiple of so many tokens; the first step gets a chunk even
            if the budget is less.
    """
    given = [0] * len(needs)
    left = budget
    for index, need in enumerate(needs):
        if need.rows > left and index > 0:
            break
        given[index] = 1
        left -= need.rows
    served = [index for index, tokens in enumerate(given) if tokens]
    by_wish = sorted(served, key=lambda index: needs[index].rows * needs[index].tokens)
    for place, index in enumerate(by_wish):
        rows, tokens = needs[index]
        more = min(tokens - 1, max(0, left) // (len(by_wish) - place) // rows)
        given[index] += more
        left -= more * rows
    if chunk > 1:
        given = [_whole(tokens, need.tokens, chunk) for tokens, need in zip(given, needs, strict=True)]
        given[0] = given[0] or min(chunk, needs[0].tokens)
    return given


def _whole(tokens: int, wanted: int, chunk: int) -> int:
    return tokens if tokens == wanted else tokens // chunk * chunk
