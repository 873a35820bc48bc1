"""Streams to one handler of a server of ours, through libp2p's daemon."""

import asyncio
from typing import Protocol

from hivemind.p2p import P2P, PeerID

from services.swarm.client.connected import check_connected


class Way(Protocol):
    """The network to one handler of a server."""

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a stream."""

    async def check(self) -> None:
        """Raise ConnectionError if the server is not connected any more."""


class WayToHandler:
    """A way through libp2p's daemon.

    Args:
        p2p: this process's way to the daemon.
        peer: the server.
        name: of the handler's stream.
        connect_timeout: seconds until the server must have taken a stream.
    """

    def __init__(self, p2p: P2P, peer: PeerID, name: str, connect_timeout: float) -> None:
        self._p2p, self._peer, self._name, self._timeout = p2p, peer, name, connect_timeout

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a stream.

        Raises:
            Exception: the server cannot be reached, has no such handler, or is silent.
        """
        async with asyncio.timeout(self._timeout):
            _, reader, writer = await self._p2p.call_binary_stream_handler(self._peer, self._name)
        return reader, writer

    async def check(self) -> None:
        """Raise ConnectionError if the server is not connected any more."""
        await check_connected(self._p2p, self._peer)
