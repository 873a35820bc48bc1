"""The seam between the sidecar's loop and what carries the node's traffic."""

from typing import Protocol


class Tunnel(Protocol):
    """One way to the pool's other nodes."""

    def check(self) -> str:
        """Return one line on the network that the node's containers have.

        Raises:
            Unavailable: they have none that works.
        """

    def close(self) -> None:
        """End what carries the traffic."""
