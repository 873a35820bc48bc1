"""How a tick's tokens are divided among the steps that wait."""

from collections.abc import Sequence
from typing import NamedTuple


class Need(NamedTuple):
    """What a step still has to run: ``tokens`` in each of its ``rows``."""

    rows: int
    tokens: int


def share(needs: Sequence[Need], budget: int, chunk: int = 1) -> list[int]:
    """Return how many tokens of each row run now, for each step; 0 for those that wait for the next tick.

    Single tokens go first, so decoding never waits for a prompt. Then come prompts, the shortest before the others
    and each to its end as far as the budget goes: in equal parts, all of them would end as late as the last. Only the
    prompt that waits longest has its equal part in any case, so that short ones never keep it waiting for good; when
    it comes to its end, those that do not wait for the next tick, for it would take the longer by their parts.

    Args:
        needs: in the order of arrival.
        budget: the most tokens of all rows together. The first step gets one token even if its rows are more.
        chunk: a step that does not run to its end runs a multiple of so many tokens; the first step gets a chunk even
            if the budget is less.
    """
    given = [0] * len(needs)
    left = budget
    for index, need in enumerate(needs):
        if index == 0 or (need.tokens == 1 and need.rows <= left):
            given[index] = 1
            left = max(0, left - need.rows)
    prompts = [index for index, need in enumerate(needs) if need.tokens > 1]
    parts = [(index, left // len(prompts)) for index in prompts[:1]]
    parts += [
        (index, budget)
        for index in sorted(prompts, key=lambda index: needs[index].rows * needs[index].tokens)
    ]
    for index, most in parts:
        rows, tokens = needs[index]
        more = min(tokens - given[index], min(most, left) // rows)
        given[index] += more
        left -= more * rows
    if prompts and given[prompts[0]] == needs[prompts[0]].tokens:
        given = [0 if 1 < need.tokens > some else some for need, some in zip(needs, given, strict=True)]
    if chunk > 1:
        given = [_whole(tokens, need.tokens, chunk) for tokens, need in zip(given, needs, strict=True)]
        given[0] = given[0] or min(chunk, needs[0].tokens)
    return given


def _whole(tokens: int, wanted: int, chunk: int) -> int:
    return tokens if tokens == wanted else tokens // chunk * chunk
