"""Watches a server that serves, until it is told to stop, is needed elsewhere, or does not serve any more."""

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from services.common.errors import Broken, Unavailable
from services.common.heartbeat import Heartbeat
from services.common.interfaces import beyond_loopback, read_addresses

logger = logging.getLogger(__name__)

_PERIOD = 5.0
"""Seconds between two looks at whether the server still serves."""
_PATIENCE = 6
"""Looks in a row that may show a problem."""
_MEAN_BALANCE_PERIOD = 120.0
"""Seconds, on average, between two looks at whether other blocks need this server more (Petals' default)."""


class Serving(Protocol):
    """What is watched; see :class:`services.swarm.serving.span_server.SpanServer`."""

    span: range

    def problem(self) -> str | None:
        """Return what keeps it from serving, or None."""

    def should_move(self) -> bool:
        """Tell whether the swarm would gain if it held other blocks."""


def _has_network() -> bool:
    return bool(beyond_loopback(read_addresses()))


def _until_next_balance() -> float:
    # Random, so that servers that joined together do not all move together
    return random.uniform(0, 2 * _MEAN_BALANCE_PERIOD)


@dataclass(frozen=True)
class Watch:
    """Watches servers, one after another.

    Attributes:
        heartbeat: is told what was seen.
        stop_asked_within: sleeps so many seconds, but not past a signal; returns whether one came.
        has_network: whether this container is connected to anything.
        until_next_balance: seconds to the next look at what the swarm needs.
    """

    heartbeat: Heartbeat
    stop_asked_within: Callable[[float], bool]
    has_network: Callable[[], bool] = _has_network
    until_next_balance: Callable[[], float] = _until_next_balance

    def follow(self, server: Serving, *, may_move: bool) -> None:
        """Return when it is time to stop or to move.

        Raises:
            Broken: the server stopped serving by itself, on a machine with a network.
        """
        blocks = f"{server.span.start}:{server.span.stop}"
        patience = _PATIENCE
        next_balance = self.until_next_balance()
        while not self.stop_asked_within(_PERIOD):
            problem = _problem(server)
            self.heartbeat.beat(problem is None, problem or f"blocks {blocks} are online")
            # Without a network, ending would be for good: see services.common.network_watch
            patience = patience - 1 if problem and self.has_network() else _PATIENCE
            if patience == 0:
                raise Broken(f"serving blocks {blocks}: {problem}", "the container starts again by itself")
            next_balance -= _PERIOD
            if may_move and problem is None and next_balance <= 0:
                next_balance = self.until_next_balance()
                if server.should_move():
                    logger.info("other blocks need this server more, moving")
                    return


def _problem(server: Serving) -> str | None:
    try:
        return server.problem()
    except Unavailable as error:
        return str(error)
