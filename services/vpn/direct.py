"""Mode ``direct``: no tunnel. The node uses the network that the container engine gives its namespace."""

from collections.abc import Callable, Mapping

from services.common.errors import Unavailable
from services.common.interfaces import beyond_loopback, read_addresses


class DirectTunnel:
    """The engine's own network, good when an interface besides the loopback has an address.

    Args:
        addresses: interface → its addresses, in the namespace that the containers share.
    """

    def __init__(self, addresses: Callable[[], Mapping[str, list[str]]] = read_addresses) -> None:
        self._addresses = addresses

    def check(self) -> str:
        """Return the interfaces and their addresses; see :meth:`services.vpn.tunnel.Tunnel.check`."""
        found = beyond_loopback(self._addresses())
        if not found:
            raise Unavailable(
                "checking the node's network: no interface but the loopback has an address",
                "connect the vpn container to a network: docker compose up -d vpn",
            )
        return "direct: " + ", ".join(f"{name} {' '.join(have)}" for name, have in sorted(found.items()))

    def close(self) -> None:
        """There is nothing to end: the engine owns the network."""
