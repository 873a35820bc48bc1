"""Runs what handlers ask for: one task, or one tick of a batch, after another."""

from collections.abc import Iterable

from services.swarm.serving.channels import Channels
from services.swarm.serving.pool import BytesTaskPool


class Runtime:
    """In place of hivemind's, which has a pipe for each pool, and threads that hand tasks and answers on.

    Args:
        channels: where tasks come from.
        pools: which they are for.
    """

    def __init__(self, channels: Channels, pools: Iterable[BytesTaskPool]) -> None:
        self._channels, self._pools = channels, tuple(pools)
        self.idle = False
        """Whether nothing runs or waits."""

    def run(self) -> None:
        """Run tasks in this thread until the channels are closed; the most urgent first."""
        try:
            while self._channels.open:
                self.idle = True
                self._channels.receive(None)
                self.idle = False
                self._run_what_waits()
        finally:
            self.idle = True

    def _run_what_waits(self) -> None:
        while self._channels.open and (waiting := [pool for pool in self._pools if pool.waiting]):
            min(waiting, key=lambda pool: pool.urgency).run_next()
            while self._channels.receive(0):
                pass
