"""Whether a server that is silent is still connected.

libp2p's daemon does not tell those who wait for an answer that the connection is lost.
"""

from hivemind.p2p import P2P, PeerID

LOOK_SECONDS = 1.0
"""How long an answer may take before we look, again and again."""


async def check_connected(p2p: P2P, peer: PeerID) -> None:
    """Ask libp2p's daemon.

    Raises:
        ConnectionError: the server is not connected.
    """
    if peer not in {other.peer_id for other in await p2p.list_peers()}:
        raise ConnectionError(f"the connection to server {peer} is lost")
