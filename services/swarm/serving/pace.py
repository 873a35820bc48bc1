"""How many tokens a tick may have, so that nobody waits long for it to end.

A machine that computes thousands of tokens in a tenth of a second can take a long prompt in large parts; on a slow
one the same parts would let everybody else's next token wait for a second.
"""

from collections import defaultdict, deque
from statistics import linear_regression, median

_FEWEST = 16
"""Smaller parts of a prompt would take hardly less time, for the weights are read in any case."""
_FIRST = 64
"""Until a tick was measured."""
_LARGEST_CHANGE = 2.0
"""From one tick to the next: a single tick may have been disturbed."""
_REMEMBERED = 5
"""Ticks of about the same size whose median counts."""


class Pace:
    """Learns what a tick costs however few its tokens are, and what each further one adds.

    The first part is paid in any case, so cutting prompts into smaller pieces only lets it be paid more often: a tick
    may take twice as long as that, even where it is more than ``seconds``.

    Args:
        most: the most tokens per tick, however fast they are.
        seconds: how long a tick should take at most.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self._most, self._seconds = most, seconds
        self._seen: dict[int, deque[tuple[int, float]]] = defaultdict(lambda: deque(maxlen=_REMEMBERED))
        self.budget = min(_FIRST, most)
        """The most tokens that the next tick may have."""

    def ticked(self, tokens: int, seconds: float) -> None:
        """Note that a tick of so many tokens took so long."""
        if not tokens:
            return
        self._seen[tokens.bit_length()].append((tokens, seconds))
        wanted = self._fitting()
        lowest, highest = self.budget / _LARGEST_CHANGE, self.budget * _LARGEST_CHANGE
        self.budget = min(max(round(min(max(wanted, lowest), highest)), _FEWEST), self._most)

    def _fitting(self) -> float:
        """Return how many tokens pass in time, by a line through the medians of small and large ticks."""
        sizes = [median(tokens for tokens, _ in ticks) for ticks in self._seen.values()]
        times = [median(seconds for _, seconds in ticks) for ticks in self._seen.values()]
        if len(sizes) == 1:
            return self._seconds * sizes[0] / max(times[0], 1e-6)
        each, fixed = linear_regression(sizes, times)
        fixed = max(fixed, 0.0)
        return max(self._seconds - fixed, fixed) / max(each, 1e-6)
