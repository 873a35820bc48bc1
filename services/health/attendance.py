"""Who announces since when, how fast it serves, and who left: the swarm's table forgets a server a minute after its
last word."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from services.health.snapshot import clean

if TYPE_CHECKING:
    from services.swarm.records import ModelRecord, ServerRecord

MAX_DEPARTED = 64
MAX_KNOWN = 16_384
"""Servers whose announcements are followed; a flood of others has no known age."""
MIN_STRETCH = 1.0
"""Seconds between two announcements that tell a speed."""
_LINGER = {"offline": 3600.0, "lost": 3600.0, "paused": 24 * 3600.0}

Departure = Literal["offline", "lost", "paused"]
"""Left with a goodbye, without one, or paused by its owner."""


@dataclass(frozen=True)
class Departed:
    """A server that announces itself no more; ``left_at`` (seconds since the epoch) is when that was noticed."""

    peer_id: str
    public_name: str | None
    model: str
    start_block: int
    end_block: int
    state: Departure
    left_at: float


@dataclass
class _Known:
    record: "ServerRecord"
    model: str
    announced_at: float
    tokens_per_second: float | None


class Attendance:
    """Follows announcements from look to look."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], _Known] = {}
        self._departed: dict[tuple[str, str], Departed] = {}

    @property
    def announced_at(self) -> dict[tuple[str, str], float]:
        """Return when the newest announcement of each server was first seen, by prefix and peer."""
        return {key: known.announced_at for key, known in self._known.items()}

    @property
    def tokens_per_second(self) -> dict[tuple[str, str], float]:
        """Return how fast servers served between their last two announcements, by prefix and peer."""
        return {
            key: known.tokens_per_second
            for key, known in self._known.items()
            if known.tokens_per_second is not None
        }

    @property
    def departed(self) -> tuple[Departed, ...]:
        """Return those who left, the latest first."""
        latest_first = sorted(self._departed.values(), key=lambda one: (-one.left_at, one.peer_id))
        return tuple(latest_first[:MAX_DEPARTED])

    def note(self, models: "Iterable[ModelRecord]", now: float) -> None:
        """Take note of everybody who announces at ``now``, in seconds since the epoch."""
        before, self._known = self._known, {}
        for model in models:
            for server in model.servers:
                key = model.dht_prefix, server.peer_id
                self._departed.pop(key, None)
                if len(self._known) < MAX_KNOWN:
                    self._known[key] = _follow(before.get(key), server, model.name, now)
        for key, known in before.items():
            if key not in self._known and (left := _departed(known, now)) is not None:
                self._departed[key] = left
        self._departed = {
            key: one for key, one in self._departed.items() if now - one.left_at < _LINGER[one.state]
        }
        for key in sorted(self._departed, key=lambda key: -self._departed[key].left_at)[MAX_DEPARTED:]:
            del self._departed[key]


def _follow(before: _Known | None, server: "ServerRecord", model: str, now: float) -> _Known:
    if before is None:
        return _Known(server, model, now, None)
    if before.record.expires_at == server.expires_at:
        return _Known(server, model, before.announced_at, before.tokens_per_second)
    return _Known(server, model, now, _speed(before.record, server))


def _speed(before: "ServerRecord", after: "ServerRecord") -> float | None:
    """Return the tokens per second between two announcements, which are as far apart as their ends."""
    seconds = after.expires_at - before.expires_at
    if before.figures is None or after.figures is None or seconds < MIN_STRETCH:
        return None
    tokens = after.figures.tokens_total - before.figures.tokens_total
    return tokens / seconds if tokens >= 0 else None  # else it was started anew


def _departed(known: _Known, now: float) -> Departed | None:
    server = known.record
    peer_id = clean(server.peer_id)
    if peer_id is None:
        return None
    paused = server.figures is not None and server.figures.paused
    state: Departure = "lost" if server.state != "offline" else "paused" if paused else "offline"
    return Departed(
        peer_id,
        clean(server.public_name),
        clean(known.model) or "",
        server.start_block,
        server.end_block,
        state,
        now,
    )
