"""The loop that looks at the swarm; everything else reads what it last saw and never waits for the DHT."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from tenacity import AsyncRetrying, retry_if_exception_type, wait_exponential

from services.common.errors import CalyxError, Unavailable
from services.health.attendance import Attendance, Departed
from services.health.history import History
from services.health.reachability import Reachability
from services.health.snapshot import Observations, Snapshot, take_snapshot

if TYPE_CHECKING:
    from services.swarm.records import Claim, Problem, Reading

log = logging.getLogger("health")

STALE_PERIODS = 5
"""Update periods after which the last snapshot no longer counts as knowing the swarm."""
MIN_STALE_SECONDS = 30.0
"""A DHT that lost a peer may take this long to answer; a short update period does not make it faster."""
MAX_RETRY_SECONDS = 30.0
CLOSE_SECONDS = 5.0
MAX_QUESTIONS = 16
"""Peers that are called at the same moment because somebody asked whether they are reached."""


class SwarmDirectory(Protocol):
    """A connection to the swarm's DHT; its methods block, and raise ``Unavailable``."""

    def look(self) -> "Reading":
        """Return what is announced now."""

    def reach(self, peer_ids: Sequence[str]) -> "dict[str, Problem]":
        """Call peers, several at a time; return why each does not answer, None for those that do."""

    def witness(self, claims: "Sequence[Claim]") -> "dict[Claim, str]":
        """Ask peers for blocks; return the address of each that has its block."""

    def close(self) -> None:
        """End the connection."""


@dataclass(frozen=True)
class Knowledge:
    """What the collector knows: the last good snapshot, and the error of the last look if it failed.

    Attributes:
        snapshot: of the swarm, None until it was seen first.
        duration: seconds that the look which gave the snapshot took, without the calls to peers.
        entrances: each initial peer's id → why it is not reached.
        departed: servers that announce themselves no more.
        error: of the last look.
        errors: looks that failed since the start.
        rejected: records that were left out since the start, by reason.
    """

    snapshot: Snapshot | None = None
    duration: float = 0.0
    entrances: "Mapping[str, Problem]" = field(default_factory=dict)
    departed: tuple[Departed, ...] = ()
    error: str | None = "not checked yet"
    errors: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)

    def age(self, now: float) -> float | None:
        """Return the seconds since the snapshot was taken, if there is one."""
        return max(0.0, now - self.snapshot.taken_at) if self.snapshot else None


class Collector:
    """Reads the directory once a period, calls who says online, and connects anew when nothing answers.

    ``prepare`` is called with what is going to be known, in the thread that looks, before others see it.

    Args:
        connect: opens the directory; blocking, called again after each failure.
        period: seconds from the begin of a look to that of the next.
        history: is told of each look.
        clock: the current time in seconds since the epoch.
        sleep: waits that many seconds.
    """

    def __init__(
        self,
        connect: Callable[[], SwarmDirectory],
        period: float,
        history: History,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.knowledge = Knowledge()
        self.prepare: Callable[[Knowledge], None] = lambda _: None
        self.period = period
        self.history = history
        self.clock = clock
        self._connect = connect
        self._sleep = sleep
        self._directory: SwarmDirectory | None = None
        self._attendance, self._reachability = Attendance(), Reachability()
        self._changed = asyncio.Event()
        # One thread, so that a directory is opened, read and closed in order and never by two at once.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="directory")
        self._callers = ThreadPoolExecutor(max_workers=MAX_QUESTIONS, thread_name_prefix="caller")
        self._questions = 0

    async def run(self) -> None:
        """Look at the swarm until cancelled."""
        wait = wait_exponential(multiplier=1, min=1, max=MAX_RETRY_SECONDS)
        retry = AsyncRetrying(retry=retry_if_exception_type(Exception), wait=wait, sleep=self._sleep)
        while True:
            started = self.clock()
            await retry(self.update)
            # A look that takes longer than a period leaves the swarm some peace, and so does a clock that is set
            pause = self.period - (self.clock() - started)
            await self._sleep(min(self.period, max(pause, self.period / 4)))

    async def update(self) -> None:
        """Look once: replace the knowledge, or note why that failed, drop the connection and raise."""
        loop = asyncio.get_running_loop()
        try:
            reading, knowledge = await loop.run_in_executor(self._thread, self._look)
            if self.knowledge.error is not None and knowledge.snapshot is not None:
                log.info("the swarm answers", extra={"models": len(knowledge.snapshot.models)})
            self._publish(knowledge)
            called = await loop.run_in_executor(self._thread, self._call, reading, knowledge)
            if called is not knowledge:
                self._publish(called)
        except Exception as error:
            # Whatever a peer or a library did, the page must go on saying what is known.
            reason = _one_line(error)
            log.warning("the swarm did not answer", extra={"reason": reason})
            failed = replace(self.knowledge, error=reason, errors=self.knowledge.errors + 1)
            await loop.run_in_executor(self._thread, self.prepare, failed)
            self._publish(failed)
            await loop.run_in_executor(self._thread, self._disconnect)
            raise

    async def change(self) -> None:
        """Return when the knowledge is replaced the next time."""
        await self._changed.wait()

    def _publish(self, knowledge: Knowledge) -> None:
        self.knowledge = knowledge
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def reaches(self, peer_id: str) -> "Problem":
        """Call a peer now; return why it does not answer, None if it does.

        Raises:
            InvalidInput: that is no peer id.
            Unavailable: there is no connection to the swarm now, or too many ask.
        """
        directory = self._directory
        if directory is None or self._questions >= MAX_QUESTIONS:
            raise Unavailable(f"calling {peer_id[:100]}: the swarm cannot be asked now", "ask again later")
        self._questions += 1
        try:
            loop = asyncio.get_running_loop()
            return (await loop.run_in_executor(self._callers, directory.reach, [peer_id]))[peer_id]
        finally:
            self._questions -= 1

    async def witness(self, claims: "Sequence[Claim]") -> "dict[Claim, str]":
        """Ask peers for blocks that they announce; return the address of each that has its block.

        Raises:
            Unavailable: there is no connection to the swarm now.
        """
        if self._directory is None:
            raise Unavailable("asking servers for their blocks: the swarm cannot be asked now")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._callers, self._directory.witness, claims)

    def verdict(self) -> tuple[bool, str]:
        """Return whether the swarm is known well enough to trust the page, and one line saying why."""
        age = self.knowledge.age(self.clock())
        if age is None:
            return False, self.knowledge.error or "not checked yet"
        limit = max(STALE_PERIODS * self.period, MIN_STALE_SECONDS)
        line = f"last saw the swarm {age:.0f} s ago"
        if age <= limit:
            return True, line
        reason = f": {self.knowledge.error}" if self.knowledge.error else ""
        return False, f"{line}, limit {limit:.0f} s{reason}"

    async def close(self) -> None:
        """Close the directory, but do not wait long for one that hangs."""
        closing = asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
        await asyncio.wait([closing], timeout=CLOSE_SECONDS)
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._callers.shutdown(wait=False, cancel_futures=True)
        self.history.close()

    def _look(self) -> "tuple[Reading, Knowledge]":
        started = self.clock()
        if self._directory is None:
            self._directory = self._connect()
        reading = self._directory.look()
        now = self.clock()
        self._attendance.note(reading.models, now)
        knowledge = Knowledge(
            take_snapshot(reading.models, now, self._observations()),
            max(0.0, now - started),
            dict(reading.entrances),
            self._attendance.departed,
            error=None,
            errors=self.knowledge.errors,
            rejected=dict(Counter(self.knowledge.rejected) + Counter(reading.rejected)),
        )
        self.prepare(knowledge)
        return reading, knowledge

    def _call(self, reading: "Reading", knowledge: Knowledge) -> Knowledge:
        """Call servers; return the knowledge with what they answered, or the same if that changes nothing."""
        directory, snapshot = self._directory, knowledge.snapshot
        if directory is None or snapshot is None:
            return knowledge
        online = [
            server.peer_id for model in reading.models for server in model.servers if server.state == "online"
        ]
        chosen = self._reachability.choose(online)
        if chosen and self._reachability.learn(directory.reach(chosen)):
            snapshot = take_snapshot(reading.models, snapshot.taken_at, self._observations())
            knowledge = replace(knowledge, snapshot=snapshot)
            self.prepare(knowledge)
        self.history.record(snapshot.models, snapshot.taken_at)
        return knowledge

    def _observations(self) -> Observations:
        return Observations(
            self._reachability.problems, self._attendance.announced_at, self._attendance.tokens_per_second
        )

    def _disconnect(self) -> None:
        directory, self._directory = self._directory, None
        if directory is None:
            return
        try:
            directory.close()
        except Exception as error:
            log.warning("closing the connection to the swarm", extra={"reason": _one_line(error)})


def _one_line(error: Exception) -> str:
    text = str(error) if isinstance(error, CalyxError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:300]
