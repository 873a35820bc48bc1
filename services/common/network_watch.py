"""Ends a room that was left behind in a network namespace without a network.

When the container that owns a node's network is started again, it gets a new namespace. The node's other containers
keep the old one, with nothing but a loopback in it, for as long as they run
(https://github.com/docker/compose/issues/6626). A start of their own puts them into the new one, and the engine's
restart policy starts those that end with an error.

It tries that only once: a container that ends while the owner does not run stays ended. So a room without a network
goes on until the owner was started. It can tell, because the engine takes the owner's line out of its ``/etc/hosts``
when it ends, writes it anew at every start, and shows that file to all containers that share the owner's network.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from services.common.interfaces import beyond_loopback, read_addresses

logger = logging.getLogger(__name__)

_PERIOD = 2.0
"""Seconds between two looks."""
_PATIENCE = 5.0
"""Seconds that the owner must have been started for: its container runs a moment after the file was written, and one
that fails at once is started again and again."""
_HOSTS = Path("/etc/hosts")


def hosts_version(hosts: Path = _HOSTS, owner: str | None = None) -> int | None:
    """Return a number that each start of the network's owner changes; None while the owner does not run.

    Args:
        hosts: the file that the engine writes.
        owner: its host name, which those who share its network have too.
    """
    try:
        lines = hosts.read_text().splitlines()
        version = hosts.stat().st_mtime_ns
    except OSError:
        return None
    return version if any((owner or socket.gethostname()) in line.split()[1:] for line in lines) else None


class NetworkWatch:
    """Looks whether the owner of this room's network was started in another namespace.

    Args:
        addresses: interface → its addresses, in this room's namespace.
        owner_start: what each start of the network's owner changes; None while it does not run.
        clock: seconds, never going back.
    """

    def __init__(
        self,
        addresses: Callable[[], Mapping[str, list[str]]] = read_addresses,
        owner_start: Callable[[], Any] = hosts_version,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._addresses, self._owner_start, self._clock = addresses, owner_start, clock
        self._own_start = self._newest_start = owner_start()
        self._newest_since = clock()
        self._lost = False

    def left_behind(self) -> bool:
        """Look once; return whether a start of this container would bring the network back."""
        start, now = self._owner_start(), self._clock()
        if beyond_loopback(self._addresses()):
            if self._lost:
                logger.info("the node's network is back")
            self._own_start, self._lost = start, False
            return False
        if not self._lost:
            self._lost = True
            logger.warning("the node's network is gone, waiting for the container vpn to start again")
        if start != self._newest_start:
            self._newest_start, self._newest_since = start, now
        return start not in (None, self._own_start) and now - self._newest_since >= _PATIENCE


def _end_process() -> None:
    logging.shutdown()
    # Other processes of this container end with its first one; nothing of a room without a network needs care
    os._exit(1)


def end_when_left_behind(
    watch: NetworkWatch | None = None,
    end: Callable[[], None] = _end_process,
    wait: Callable[[float], None] = time.sleep,
) -> threading.Thread:
    """Watch from a thread of its own, and end the process with exit code 1 when it was left behind.

    Args:
        watch: looks; a new one by default.
        end: what is done then.
        wait: sleeps that many seconds.
    """
    watching = watch or NetworkWatch()

    def run() -> None:
        while not watching.left_behind():
            wait(_PERIOD)
        logger.error(
            "the container vpn was started again with a new network: ending, to be started there too"
        )
        end()

    thread = threading.Thread(target=run, name="network-watch", daemon=True)
    thread.start()
    return thread
