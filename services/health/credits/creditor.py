"""The loop that sees who shares what, writes it down for the authority, and reads what the authority booked."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

from services.common.credits import ACCOUNT, LEDGER, Ledger, read_document
from services.common.errors import Broken, CalyxError, Unavailable
from services.health.collector import Knowledge
from services.health.credits.book import Book, Sighting
from services.health.credits.meter import Meter
from services.health.snapshot import Server
from services.swarm.records import Claim

log = logging.getLogger("health")

PERIODS = 3
"""Update periods of the collector from one look to the next."""
LONGEST = 3.0
"""Looks that may be missed, as a multiple of the time between two."""
MAX_CLAIMS = 1024
"""Servers that are asked in one look."""


class Observer(Protocol):
    """What the creditor needs of the collector."""

    period: float
    knowledge: Knowledge
    clock: Callable[[], float]

    async def witness(self, claims: Sequence[Claim]) -> dict[Claim, str]:
        """Return the address of each peer that has its block; raises ``Unavailable``."""


class Creditor:
    """Keeps the book of what nodes share.

    Args:
        observer: the collector.
        folder: shared with the authority.
        period: seconds after which what was observed is handed over.
        read_meter: asks the endpoint for its counters; blocking, raises ``Unavailable``.
        pick: chooses the block that a server is asked for.
        sleep: waits that many seconds.
    """

    def __init__(
        self,
        observer: Observer,
        folder: Path,
        period: float,
        read_meter: Callable[[], Meter],
        pick: Callable[[Server], int] = lambda server: random.randrange(server.start_block, server.end_block),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.ledger = Ledger()
        """What is booked, as it was last read."""
        self._observer, self._read_meter, self._pick, self._sleep = observer, read_meter, pick, sleep
        self._ledger_path = folder / LEDGER
        self._pause = PERIODS * observer.period
        self._book = Book(folder / ACCOUNT, period, LONGEST * self._pause)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            started = self._observer.clock()
            try:
                await self.look()
            except Exception as error:
                # Whatever a peer or a library did, the next look must come
                reason = str(error) if isinstance(error, CalyxError) else repr(error)[:300]
                log.warning("what nodes share was not counted", extra={"reason": reason})
            pause = self._pause - (self._observer.clock() - started)
            await self._sleep(min(self._pause, max(pause, self._pause / 4)))

    async def look(self) -> None:
        """See who is there, take the endpoint's counters, and write down what follows.

        Raises:
            Unavailable: the swarm cannot be asked.
            Broken: the folder cannot be written to.
        """
        now = self._observer.clock()
        servers = self._online()
        seen = await self._observer.witness(list(servers))
        sightings = [
            Sighting(server.peer_id, model, seen[claim], server.num_blocks, server.public_name)
            for claim, (model, server) in servers.items()
            if claim in seen
        ]
        await asyncio.to_thread(self._write, sightings, now)

    def _online(self) -> dict[Claim, tuple[str, Server]]:
        snapshot = self._observer.knowledge.snapshot
        found = [
            (Claim(server.peer_id, model.dht_prefix, self._pick(server)), (model.name, server))
            for model in (snapshot.models if snapshot else ())
            for server in model.servers
            if server.state == "online"
        ]
        return dict(found[:MAX_CLAIMS])

    def _write(self, sightings: list[Sighting], now: float) -> None:
        self._read_ledger()
        self._book.observe(sightings, self._meter(), now)

    def _read_ledger(self) -> None:
        try:
            ledger = read_document(self._ledger_path, Ledger)
        except Broken as error:
            # The authority writes it anew when it is given something to book
            log.warning("what was booked is not known", extra={"reason": str(error)})
            return
        if ledger is not None:
            self.ledger = ledger
            self._book.settle(ledger)

    def _meter(self) -> Meter | None:
        try:
            return self._read_meter()
        except Unavailable as error:
            log.debug("tokens were not counted", extra={"reason": str(error)})
            return None
