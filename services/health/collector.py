"""The loop that looks at the swarm; everything else reads what it last saw and never waits for the DHT."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from tenacity import AsyncRetrying, retry_if_exception_type, wait_exponential

from services.common.errors import CalyxError
from services.health.snapshot import Snapshot, take_snapshot

if TYPE_CHECKING:
    from services.swarm.directory import ModelRecord

log = logging.getLogger("health")

STALE_PERIODS = 5
"""Update periods after which the last snapshot no longer counts as knowing the swarm."""
MIN_STALE_SECONDS = 30.0
"""A DHT that lost a peer may take this long to answer; a short update period does not make it faster."""
MAX_RETRY_SECONDS = 30.0
CLOSE_SECONDS = 5.0


class SwarmDirectory(Protocol):
    """A connection to the swarm's DHT; its methods block, and raise ``Unavailable``."""

    def read(self) -> "list[ModelRecord]":
        """Return every model that is announced now, with its servers."""

    def close(self) -> None:
        """End the connection."""


@dataclass(frozen=True)
class Knowledge:
    """What the collector knows: the last good snapshot, and the error of the last look if it failed."""

    snapshot: Snapshot | None = None
    duration: float = 0.0
    """Seconds that the look which gave the snapshot took."""
    error: str | None = "not checked yet"
    errors: int = 0
    """Looks that failed since the start."""

    def age(self, now: float) -> float | None:
        """Return the seconds since the snapshot was taken, if there is one."""
        return max(0.0, now - self.snapshot.taken_at) if self.snapshot else None


class Collector:
    """Reads the directory once a period, and connects anew when it does not answer.

    Args:
        connect: opens the directory; blocking, called again after each failure.
        period: seconds between two looks.
        clock: the current time in seconds since the epoch.
        sleep: waits that many seconds.
    """

    def __init__(
        self,
        connect: Callable[[], SwarmDirectory],
        period: float,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.knowledge = Knowledge()
        self.period = period
        self.clock = clock
        self._connect = connect
        self._sleep = sleep
        self._directory: SwarmDirectory | None = None
        # One thread, so that a directory is opened, read and closed in order and never by two at once.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="directory")

    async def run(self) -> None:
        """Look at the swarm until cancelled."""
        wait = wait_exponential(multiplier=1, min=1, max=MAX_RETRY_SECONDS)
        retry = AsyncRetrying(retry=retry_if_exception_type(Exception), wait=wait, sleep=self._sleep)
        while True:
            await retry(self.update)
            await self._sleep(self.period)

    async def update(self) -> None:
        """Look once: replace the knowledge, or note why that failed, drop the connection and raise."""
        started = self.clock()
        loop = asyncio.get_running_loop()
        try:
            snapshot = await loop.run_in_executor(self._thread, self._look)
        except Exception as error:
            # Whatever a peer or a library did, the page must go on saying what is known.
            reason = _one_line(error)
            self.knowledge = replace(self.knowledge, error=reason, errors=self.knowledge.errors + 1)
            log.warning("the swarm did not answer", extra={"reason": reason})
            await loop.run_in_executor(self._thread, self._disconnect)
            raise
        if self.knowledge.error is not None:
            log.info("the swarm answers", extra={"models": len(snapshot.models)})
        duration = max(0.0, self.clock() - started)
        self.knowledge = Knowledge(snapshot, duration, error=None, errors=self.knowledge.errors)

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

    def _look(self) -> Snapshot:
        if self._directory is None:
            self._directory = self._connect()
        return take_snapshot(self._directory.read(), self.clock())

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
