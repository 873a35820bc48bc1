"""A bounded number of places, and a bounded queue before them in which callers take turns.

Turns and not arrival decide, so that a caller with a hundred requests keeps nobody waiting who has one.
"""

import asyncio
from collections import OrderedDict, deque
from contextvars import ContextVar

from services.common.errors import Refused

CALLER: ContextVar[str] = ContextVar("caller", default="")
"""Who asks: the name of an API key or, without keys, a network address. Set where a request comes in."""


class Places:
    """Belongs to one event loop.

    Args:
        count: how many may have a place at once.
        most_waiting: how many more may wait for one.
    """

    def __init__(self, count: int, most_waiting: int) -> None:
        self.free = count
        """How many places nobody has."""
        self._most_waiting = most_waiting
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(map(len, self._queues.values()))

    async def take(self) -> None:
        """Take a place, after waiting for the turn of whom ``CALLER`` names.

        When too many wait, the newest request of who has most of them is refused: this one, or another's.

        Raises:
            Refused: that one is this.
        """
        if self.free:
            self.free -= 1
            return
        caller = CALLER.get()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(caller, deque()).append(turn)
        if self.waiting > self._most_waiting:
            self._refuse_one(caller)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.give_back()  # the turn came at the same moment
            else:
                self._forget(caller, turn)
            raise

    def give_back(self) -> None:
        """Leave a place to the caller whose turn it is."""
        while self._queues:
            caller, queue = self._queues.popitem(last=False)
            turn = queue.popleft()
            if queue:
                self._queues[caller] = queue  # behind all others
            if not turn.done():  # else who waited has just given up
                turn.set_result(None)
                return
        self.free += 1

    def _refuse_one(self, caller: str) -> None:
        # Of equals, it is who came last
        loudest = max(self._queues, key=lambda one: (len(self._queues[one]), one == caller))
        turn = self._queues[loudest][-1]
        self._forget(loudest, turn)
        if turn.done():
            return
        turn.set_exception(
            Refused(
                f"all places are taken and {self.waiting} requests wait already",
                "try again in a few seconds",
            )
        )

    def _forget(self, caller: str, turn: asyncio.Future[None]) -> None:
        queue = self._queues.get(caller)
        if queue is not None and turn in queue:
            queue.remove(turn)
            if not queue:
                del self._queues[caller]
