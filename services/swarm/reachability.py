"""How a peer of an open swarm learns whether others reach it, as Petals' own servers do: some of them call it back.

The swarm's reachability page, which Petals asks besides, is somebody's service; nothing here depends on it.
"""

from hivemind import DHT
from petals.server.reachability import ReachabilityProtocol, check_direct_reachability


def reached_directly(**network: object) -> bool:
    """Ask up to five peers to call this one back; True also if none of them can tell.

    Args:
        network: options of hivemind's ``DHT`` that the peer is going to be started with.

    Raises:
        P2PDaemonError: no initial peer answers.
    """
    return check_direct_reachability(**network | {"use_relay": False}) is not False


def help_others_to_know(dht: DHT) -> None:
    """Call those back who ask whether they are reached, until the process ends."""
    ReachabilityProtocol.attach_to_dht(dht)
