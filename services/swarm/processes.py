"""Ends the processes that hivemind and Petals leave behind."""

import psutil


def end_children(grace: float = 1.0) -> None:
    """End every process below this one: handlers, DHT and libp2p's daemon outlive their parent otherwise.

    Those that were forked inherited how this process handles signals, so SIGTERM may mean nothing to them,
    and Python would wait for them forever when it exits.

    Args:
        grace: seconds between asking them and killing them.
    """
    children = psutil.Process().children(recursive=True)
    for child in children:
        child.terminate()
    _, alive = psutil.wait_procs(children, timeout=grace)
    for child in alive:
        child.kill()
