"""How long a tick waits for sessions that are about to come back.

Without waiting, sessions split into two halves: while one half's batch runs, the other half's steps arrive, and what
a tick costs however few its tokens are is paid twice. On the other hand blocks and clients then compute at the same
time. So a tick waits where sessions are back sooner than those costs last.
"""

import time
from collections.abc import Callable, Hashable

_WEIGHT = 0.2
"""Of the newest measurement in an average that forgets."""
_LATE = 2.0
"""A session that is away longer than this many average turns is not waited for."""


class Gathering:
    """Watches how fast sessions come back with their next step, and how long ticks take.

    Slow clients are never waited for.

    Args:
        clock: seconds, ascending.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._away: dict[Hashable, float] = {}
        self._turn: float | None = None
        self._tick = 0.0
        self._worth = 0.0

    def came(self, session: Hashable) -> None:
        """Note that a session asks for its next step."""
        if (since := self._away.pop(session, None)) is not None:
            # A client that thinks for minutes says no more than that it is slow
            turn = min(self._clock() - since, self._tick)
            self._turn = turn if self._turn is None else self._turn + _WEIGHT * (turn - self._turn)

    def ticked(self, seconds: float, least: float) -> None:
        """Note how long a tick took, and how long one takes that has few tokens."""
        self._tick += (seconds - self._tick) * (_WEIGHT if self._tick else 1.0)
        self._worth = least

    def answered(self, session: Hashable) -> None:
        """Note that a session was given its answer."""
        self._away[session] = self._clock()

    def patience(self) -> float:
        """Return the most seconds that the next tick should wait from now; 0 if nobody is about to come back."""
        if self._turn is None or self._turn > self._worth:
            return 0.0
        now = self._clock()
        late = now - _LATE * self._turn
        self._away = {session: since for session, since in self._away.items() if since > late}
        latest = max(self._away.values(), default=late)
        return min(latest - late, self._worth)
