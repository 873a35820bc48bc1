"""How many tokens a tick may have, so that nobody waits long for it to end.

A machine that computes thousands of tokens in a tenth of a second can take a long prompt in large parts; on a slow
one the same parts would let everybody else's next token wait for a second.
"""

_FEWEST = 16
"""Smaller parts of a prompt would take hardly less time, for the weights are read in any case."""
_FIRST = 64
"""Until a tick was measured."""
_LARGEST_CHANGE = 2.0
"""From one tick to the next: a single tick may have been disturbed."""


class Pace:
    """Learns from the ticks that use their budget, and from no others: these tell what a larger one would cost.

    Args:
        most: the most tokens per tick, however fast they are.
        seconds: how long a tick should take at most.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self._most, self._seconds = most, seconds
        self.budget = min(_FIRST, most)
        """The most tokens that the next tick may have."""

    def ticked(self, tokens: int, seconds: float) -> None:
        """Note that a tick of so many tokens took so long."""
        if tokens <= self.budget // 2:
            return
        change = min(max(self._seconds / max(seconds, 1e-6), 1 / _LARGEST_CHANGE), _LARGEST_CHANGE)
        self.budget = min(max(round(self.budget * change), _FEWEST), self._most)
