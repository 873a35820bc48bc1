"""Guesses what comes next, so that one pass through the swarm may check many tokens.

Prompt lookup decoding (Saxena 2023, https://github.com/apoorvumang/prompt-lookup-decoding): where the last few tokens
stood before, what followed there may follow here. Summaries, code and answers about a text repeat much of it. Where
nothing is repeated a small model may guess, if there is one. The length of guesses follows how many were right, as
the heuristic schedule of transformers' assisted generation does.
"""

import time
from collections.abc import Awaitable, Callable, Sequence

_LONGEST, _SHORTEST = 4, 2
"""Of the endings that are looked up, in tokens; a longer one says more about what follows."""
_FIRST_LENGTH = 4
_WORTHWHILE = 0.2
"""So large a part of the guesses must be right: a token more in a pass costs less than one in a pass of its own, but
it is not free."""
_WEIGHT = 0.25
"""Of the newest guess in an average that forgets."""
_PAUSE = 64
"""So many tokens are made without guesses once these were not worthwhile."""

Draft = Callable[[Sequence[int], int], Awaitable[list[int]]]
"""Lets a small model go on with these tokens, by so many at most; see ``services.endpoint.engine.Model.guess``."""


class _Lookup:
    """What followed where the same tokens stood before."""

    def __init__(self) -> None:
        self._after: dict[tuple[int, ...], int] = {}
        self._indexed = 0

    def learn(self, tokens: Sequence[int]) -> None:
        """Remember where each ending stood last, as far as something follows there."""
        for end in range(max(self._indexed, _SHORTEST), len(tokens)):
            for length in range(_SHORTEST, min(_LONGEST, end) + 1):
                self._after[tuple(tokens[end - length : end])] = end
        self._indexed = len(tokens)

    def guess(self, tokens: Sequence[int], count: int) -> list[int]:
        for length in range(_LONGEST, _SHORTEST - 1, -1):
            start = self._after.get(tuple(tokens[-length:]))
            if start is not None:
                return _continued(tokens, start, count)
        return []


class _Trial:
    """Whether guesses of one kind are worthwhile, and of how many tokens."""

    def __init__(self) -> None:
        self._length = _FIRST_LENGTH
        self._right = 1.0
        self._silent_until = 0

    def count(self, said: int, most: int) -> int:
        """Return how many tokens to guess after so many."""
        return 0 if said < self._silent_until else min(self._length, most)

    def checked(self, said: int, guessed: int, right: int, worthwhile: float) -> None:
        """Learn how many were right, and how large a part of them has to be."""
        self._length = guessed + 2 if right == guessed else max(1, guessed - 1)
        self._right += _WEIGHT * (right / guessed - self._right)
        if self._right < worthwhile:
            self._silent_until = said + _PAUSE
            self._right, self._length = min(1.0, 2 * worthwhile), 1


class Guesser:
    """Guesses the tokens of one conversation.

    Args:
        draft: asks a small model.
        clock: seconds, as ``time.monotonic``.
    """

    def __init__(self, draft: Draft, clock: Callable[[], float] = time.monotonic) -> None:
        self._draft, self._clock = draft, clock
        self._lookup = _Lookup()
        self._looking_up, self._drafting = _Trial(), _Trial()
        self._latest = self._looking_up
        self._seconds_each = 0.0
        """What a token of the latest draft took."""

    async def guess(self, tokens: Sequence[int], most: int, *, drafts: bool = True) -> list[int]:
        """Return tokens that may follow; often none.

        Args:
            tokens: all that was said; the same list as before, with what was added since.
            most: how many tokens may be guessed.
            drafts: whether there is time to ask the small model.
        """
        if most < 1:
            return []
        self._lookup.learn(tokens)
        count = self._looking_up.count(len(tokens), most)
        if count and (found := self._lookup.guess(tokens, count)):
            self._latest = self._looking_up
            return found
        if drafts and (count := self._drafting.count(len(tokens), most)):
            self._latest = self._drafting
            began = self._clock()
            drafted = await self._draft(tokens, count)
            self._seconds_each = (self._clock() - began) / max(1, len(drafted))
            return drafted
        return []

    def checked(self, tokens: Sequence[int], guessed: int, right: int, seconds: float) -> None:
        """Learn how many of the guessed tokens were right, and how long their pass through the swarm took.

        Each one that is right spares such a pass, so drafts that take long must be right more often.
        """
        worthwhile = _WORTHWHILE
        if self._latest is self._drafting:
            worthwhile = max(worthwhile, self._seconds_each / max(seconds, 1e-6))
        self._latest.checked(len(tokens), guessed, right, worthwhile)


def _continued(tokens: Sequence[int], start: int, count: int) -> list[int]:
    """Return ``count`` tokens from ``start`` on; what reaches beyond the end goes on in the same rhythm."""
    guess: list[int] = []
    for place in range(start, start + count):
        guess.append(tokens[place] if place < len(tokens) else guess[place - len(tokens)])
    return guess
