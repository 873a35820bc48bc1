"""What was observed and is not booked yet, in one file that is replaced whole at each look.

Amounts and the counter readings that they were taken from are written in one go, so a crash costs what came after the
last look and counts nothing twice.
"""

import logging
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from services.common.credits import MAX_LABEL, Account, Entry, Ledger, read_document
from services.common.errors import Broken
from services.common.files import replace_file
from services.common.served_tokens import Served
from services.health.credits.meter import Meter

log = logging.getLogger("health")

MAX_ENTRIES = 10_000
"""Entries that wait to be booked; when there are more, those that are open go on instead of being closed."""
REMEMBERED_SECONDS = 600.0
"""How long after it was last seen a server's tokens are put down to the address that it had."""

_Counter = tuple[str, str]


@dataclass(frozen=True)
class Sighting:
    """A peer that was asked for one of its blocks just now, and had it."""

    peer_id: str
    model: str
    address: str
    blocks: int
    public_name: str | None

    @property
    def key(self) -> tuple[str, str, str]:
        """What two sightings of the same work have in common."""
        return self.peer_id, self.model, self.address


@dataclass
class _Line:
    """An entry that is still open; times are seconds since the epoch."""

    peer_id: str
    model: str
    address: str
    public_name: str | None
    begins_at: float
    ends_at: float
    block_seconds: float = 0.0
    tokens: int = 0
    token_blocks: int = 0


class _State(Account):
    """The file: what the authority reads of it, and what only this side needs."""

    next_number: int
    lines: list[_Line]
    run: float | None
    counters: list[tuple[str, str, int, int]]


@dataclass
class _Readings:
    """Where the endpoint's counters stood when they were last taken; ``run`` says of which process they are."""

    run: float | None = None
    counts: dict[_Counter, Served] = field(default_factory=dict)


class Book:
    """Turns observations into entries.

    Args:
        path: the file.
        period: seconds after which an entry is closed.
        longest: seconds between two looks above which nothing in between counts.
    """

    def __init__(self, path: Path, period: float, longest: float) -> None:
        self._path, self._period, self._longest = path, period, longest
        state = _load(path)
        self.observer = state.observer
        self.entries = list(state.entries)
        self._next_number = state.next_number
        self._lines = {(one.peer_id, one.model, one.address): one for one in state.lines}
        counts = {(model, peer): Served(*taken) for model, peer, *taken in state.counters}
        self._readings = _Readings(state.run, counts)
        self._looked_at: float | None = None
        self._seen: dict[tuple[str, str, str], Sighting] = {}
        self._places: dict[str, tuple[Sighting, float]] = {}

    def observe(self, sightings: Iterable[Sighting], meter: Meter | None, now: float) -> None:
        """Add what was shared since the look before.

        Args:
            sightings: who was seen in this look.
            meter: the endpoint's counters, None if it does not answer.
            now: when the look began, in seconds since the epoch.

        Raises:
            Broken: it cannot be written down; it is tried again with the next look.
        """
        began, self._looked_at = self._looked_at, now
        before, self._seen = self._seen, {one.key: one for one in sightings}
        self._places = {
            peer: place for peer, place in self._places.items() if 0 <= now - place[1] <= REMEMBERED_SECONDS
        } | {one.peer_id: (one, now) for one in self._seen.values()}
        if began is not None and 0 < now - began <= self._longest:
            for key, one in self._seen.items():
                if key in before:
                    blocks = min(one.blocks, before[key].blocks)
                    self._line(one, one.model, began, now).block_seconds += blocks * (now - began)
        if meter is not None:
            self._take(meter, now)
        self._close(now)
        self._save()

    def settle(self, ledger: Ledger) -> None:
        """Forget the entries that are booked."""
        if ledger.observer == self.observer:
            self.entries = [entry for entry in self.entries if entry.number > ledger.booked]

    def _take(self, meter: Meter, now: float) -> None:
        # What was counted before anything was known of the endpoint may be in another observer's entries
        first = self._readings.run is None
        taken = self._readings.counts if meter.run == self._readings.run else {}
        for counter, total in meter.served.items():
            before = taken.get(counter, Served())
            place = self._places.get(counter[1])
            if first or total.tokens < before.tokens:
                taken[counter] = total
            elif place is not None and total != before:
                one, seen_at = place
                line = self._line(one, counter[0], seen_at, now)
                line.tokens += total.tokens - before.tokens
                line.token_blocks += total.token_blocks - before.token_blocks
                taken[counter] = total
        self._readings = _Readings(meter.run, taken)

    def _line(self, one: Sighting, model: str, began: float, now: float) -> _Line:
        key = one.peer_id, model[:MAX_LABEL], one.address
        line = self._lines.setdefault(key, _Line(*key, one.public_name, began, now))
        line.ends_at, line.public_name = now, one.public_name
        return line

    def _close(self, now: float) -> None:
        lines = list(self._lines.values())
        if not lines or len(self.entries) + len(lines) > MAX_ENTRIES:
            return
        # A clock that was set back closes them too
        if 0 <= now - min(line.begins_at for line in lines) < self._period:
            return
        self._lines = {}
        for line in lines:
            whole = {
                "begins_at": int(line.begins_at),
                "ends_at": int(line.ends_at),
                "block_seconds": round(line.block_seconds),
            }
            self.entries.append(Entry(number=self._next_number, **{**asdict(line), **whole}))
            self._next_number += 1

    def _save(self) -> None:
        state = _State(
            observer=self.observer,
            entries=self.entries,
            next_number=self._next_number,
            lines=list(self._lines.values()),
            run=self._readings.run,
            counters=[(*counter, *taken) for counter, taken in self._readings.counts.items()],
        )
        replace_file(self._path, state.model_dump_json())


def _load(path: Path) -> _State:
    try:
        state = read_document(path, _State)
    except Broken as error:
        log.warning("what was shared and not booked is lost", extra={"reason": str(error)})
        state = None
    # A new name: numbers that begin anew under the old one would be taken for entries that are booked
    return state or _State(
        observer=secrets.token_hex(8), entries=[], next_number=1, lines=[], run=None, counters=[]
    )
