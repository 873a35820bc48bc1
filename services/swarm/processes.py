"""Ends the processes that hivemind and Petals leave behind."""

import psutil

_TORCH_HELPER = "torch_shm_manager"
"""Ends with the last process that it serves, and makes those abort that outlive it."""
_SECONDS = 2.0
"""Long enough for the kernel to free the memory, and the port, of a process that was killed."""


def end_children() -> None:
    """Kill every process below this one: handlers, DHT and libp2p's daemon outlive their parent otherwise.

    Those that were forked inherited how this process handles signals, so SIGTERM would mean nothing to them, and
    Python would wait for them forever when it exits.
    """
    children = [child for child in psutil.Process().children(recursive=True) if child.name() != _TORCH_HELPER]
    for child in children:
        child.kill()
    psutil.wait_procs(children, timeout=_SECONDS)
