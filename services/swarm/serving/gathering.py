"""How long a tick waits for sessions that are about to come back.

Without waiting, sessions split into groups: while one group's batch runs, the other's steps arrive. What a tick costs
however few its tokens are is then paid by each group, in blocks and in clients, which compute for all that arrive
together too. Sessions that come back after about the same time stay together once they were answered together, so
nearly nothing is lost by waiting for them: apart they would wait for each other's ticks.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

_NEWEST = 0.25
"""What the newest turn counts in averages."""
_LATE = 2.0
"""Spreads after the usual time, but no more than a tick; who is not back then is waited for no longer."""
_SOON = 8.0
"""Ticks; who is not expected before is not waited for."""
_VERY_SOON = 1.0
"""The same where steps come from other servers, or where somebody waits for a first token."""
_FORGOTTEN = 60.0
"""Seconds."""


@dataclass
class _Turns:
    """When a session was answered last, and how long it takes to come back.

    Attributes:
        since: when it was answered last.
        usual: seconds until it is back, on the average; infinite as long as nothing is known.
        spread: by how many seconds that varies, on the average.
        away: whether it has not come back.
    """

    since: float
    usual: float
    spread: float = 0.0
    away: bool = True

    @property
    def expected(self) -> float:
        """Return when it is back if it takes as long as usual."""
        return self.since + self.usual

    def came(self, now: float) -> None:
        """Note that it is back."""
        seconds = now - self.since
        if self.usual == math.inf:
            self.usual, self.spread = seconds, seconds / 2
        self.spread += _NEWEST * (abs(seconds - self.usual) - self.spread)
        self.usual += _NEWEST * (seconds - self.usual)
        self.away = False


class Gathering:
    """Watches how fast sessions come back with their next step, and how long ticks take.

    It waits for those who are back within a tick after the fastest: a slow client does not hold up others.

    Args:
        is_open: tells of a session, by the first handle of its memory, whether it may come back at all.
        first: whether steps come from clients. Servers behind such a one get together what was together there; would
            they wait as long, then each for those who wait at the other.
        clock: seconds, ascending.
    """

    def __init__(
        self, is_open: Callable[[int], bool], *, first: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._is_open, self._clock = is_open, clock
        self._soon = _SOON if first else _VERY_SOON
        self._somebody_new = False
        self._sessions: dict[int, _Turns] = {}
        self._tick = 0.0
        self._usual = math.inf
        """What is expected of a session that has not come back yet."""
        self._delay = 0.0
        """Of the session that came last; what held it up may hold up others."""
        self._awaited: dict[int, float] | None = {}
        """Until when; None if it has to be found out anew."""

    def came(self, session: int) -> None:
        """Note that a session asks for its next step."""
        if self._awaited:
            self._awaited.pop(session, None)
        if (turns := self._sessions.get(session)) is not None and turns.away:
            now = self._clock()
            self._delay = max(0.0, now - turns.expected)
            turns.came(now)
            self._usual = turns.usual
        if turns is None:
            self._somebody_new, self._awaited = True, None

    def ticked(self, seconds: float) -> None:
        """Note how long a tick took."""
        self._somebody_new = False
        self._tick += (seconds - self._tick) * (_NEWEST if self._tick else 1.0)

    def answered(self, session: int) -> None:
        """Note that a session was given its answer."""
        turns = self._sessions.setdefault(session, _Turns(0.0, self._usual))
        turns.since, turns.away = self._clock(), True
        self._awaited = None

    def patience(self) -> float:
        """Return the most seconds that the next tick should wait from now; 0 if nobody is about to come back."""
        now = self._clock()
        if self._awaited is None:
            self._awaited = self._about_to_come(now)
        for session, until in list(self._awaited.items()):
            if until <= now or not self._is_open(session):
                del self._awaited[session]
        return max(self._awaited.values(), default=now) - now

    def _about_to_come(self, now: float) -> dict[int, float]:
        self._sessions = {
            session: turns for session, turns in self._sessions.items() if now < turns.since + _FORGOTTEN
        }
        until = {session: self._until(turns, now) for session, turns in self._sessions.items() if turns.away}
        here_or_soon = [
            turns.usual for session, turns in self._sessions.items() if until.get(session, math.inf) > now
        ]
        longest = min(here_or_soon, default=0.0) + self._tick
        soon = now + self._tick * (_VERY_SOON if self._somebody_new else self._soon)
        return {
            session: until[session]
            for session, turns in self._sessions.items()
            if turns.away and until[session] > now and turns.usual <= longest and turns.expected <= soon
        }

    def _until(self, turns: _Turns, now: float) -> float:
        usually = turns.expected + min(_LATE * turns.spread, self._tick)
        return max(usually, min(usually + self._delay, now + self._tick))
