"""How much processor time a token takes, and where: in blocks, in handlers, in libp2p's daemons, in the client."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psutil

from tests.swarm_processes import Room

ROLES = ("blocks", "handlers", "libp2p", "client")


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _by_role(servers: Sequence[Room]) -> dict[str, float]:
    """Return seconds that the processes of servers and of this client have computed so far.

    A server's first process runs the blocks; its other Python processes are its handlers and its DHT. Servers are
    children of this process too, those of other swarms included: what belongs to the client is in its own session.
    """
    own = psutil.Process()
    seconds = dict.fromkeys(ROLES, 0.0)
    for process in (own, *own.children(recursive=True)):
        if os.getsid(process.pid) == os.getsid(own.pid):
            seconds["libp2p" if process.name() == "p2pd" else "client"] += _seconds(process)
    for server in servers:
        for process in server.members():
            role = "handlers"
            if process.name() == "p2pd":
                role = "libp2p"
            elif process.pid == server.pid:
                role = "blocks"
            seconds[role] += _seconds(process)
    return seconds


@contextmanager
def spent(servers: Sequence[Room]) -> Iterator[dict[str, float]]:
    """Fill the dictionary with the seconds that each role computes inside the context."""
    seconds: dict[str, float] = {}
    before = _by_role(servers)
    yield seconds
    seconds.update({role: total - before[role] for role, total in _by_role(servers).items()})
