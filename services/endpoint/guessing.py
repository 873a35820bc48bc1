"""Guesses what comes next from what was said before, so that one pass through the swarm may check many tokens.

Prompt lookup decoding (Saxena 2023, https://github.com/apoorvumang/prompt-lookup-decoding): where the last few tokens
stood before, what followed there may follow here. Summaries, code and answers about a text repeat much of it. The
length of guesses follows how many were right, as the heuristic schedule of transformers' assisted generation does.
"""

from collections.abc import Sequence

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


class Guesser:
    """Guesses the tokens of one conversation."""

    def __init__(self) -> None:
        self._after: dict[tuple[int, ...], int] = {}
        self._indexed = 0
        self._length = _FIRST_LENGTH
        self._right = 1.0
        self._silent_until = 0

    def guess(self, tokens: Sequence[int], most: int) -> list[int]:
        """Return tokens that may follow; often none.

        Args:
            tokens: all that was said; the same list as before, with what was added since.
            most: how many tokens may be guessed.
        """
        count = min(self._length, most)
        if count < 1:
            return []
        self._index(tokens)
        if len(tokens) < self._silent_until:
            return []
        for length in range(_LONGEST, _SHORTEST - 1, -1):
            start = self._after.get(tuple(tokens[-length:]))
            if start is not None:
                return _continued(tokens, start, count)
        return []

    def checked(self, tokens: Sequence[int], guessed: int, right: int) -> None:
        """Learn how many of the guessed tokens were right."""
        self._length = guessed + 2 if right == guessed else max(1, guessed - 1)
        self._right += _WEIGHT * (right / guessed - self._right)
        if self._right < _WORTHWHILE:
            self._silent_until = len(tokens) + _PAUSE
            self._right, self._length = 2 * _WORTHWHILE, 1

    def _index(self, tokens: Sequence[int]) -> None:
        """Remember where each ending stood last, as far as something follows there."""
        for end in range(max(self._indexed, _SHORTEST), len(tokens)):
            for length in range(_SHORTEST, min(_LONGEST, end) + 1):
                self._after[tuple(tokens[end - length : end])] = end
        self._indexed = len(tokens)


def _continued(tokens: Sequence[int], start: int, count: int) -> list[int]:
    """Return ``count`` tokens from ``start`` on; what reaches beyond the end goes on in the same rhythm."""
    guess: list[int] = []
    for place in range(start, start + count):
        guess.append(tokens[place] if place < len(tokens) else guess[place - len(tokens)])
    return guess
