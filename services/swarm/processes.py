"""Ends the processes that hivemind and Petals leave behind."""

import psutil

_SECONDS = 2.0
"""Long enough for the kernel to free the memory, and the port, of a process that was killed."""


def end_children() -> None:
    """Kill every process below this one: handlers, DHT and libp2p's daemon outlive their parent otherwise.

    Those that were forked inherited how this process handles signals, so SIGTERM would mean nothing to them, and
    Python would wait for them forever when it exits.
    """
    children = psutil.Process().children(recursive=True)
    for child in children:
        child.kill()
    psutil.wait_procs(children, timeout=_SECONDS)
