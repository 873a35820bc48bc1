"""uvicorn's connections with limits of time that it lacks, so that nobody holds one by doing nothing.

A client has some seconds to send the head of a request, and to take what was written to it: one that reads nothing
would otherwise keep its place among those who generate, or a connection that is closed already, for ever.
"""

import asyncio
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol


class _Deadline:
    """Ends a connection unless it is called off in time."""

    def __init__(self, transport: asyncio.Transport, patience: float) -> None:
        self._transport, self._patience = transport, patience
        self._timer: asyncio.TimerHandle | None = None
        self._unsent = 0

    def set(self) -> None:
        """Begin to count, unless it counts already."""
        if self._timer is None:
            self._unsent = self._transport.get_write_buffer_size()
            self._timer = asyncio.get_running_loop().call_later(self._patience, self._over)

    def call_off(self) -> None:
        """Stop counting."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _over(self) -> None:
        self._timer = None
        if 0 < self._transport.get_write_buffer_size() < self._unsent:
            self.set()  # it reads, if slowly
        else:
            self._transport.abort()  # close() would wait until what is written was read


class _MustRead(asyncio.Protocol):
    """What both kinds of connection share: whoever takes nothing of what was written to it is cut off."""

    patience: float
    _reads: _Deadline

    def watch_reading(self, transport: asyncio.Transport) -> None:
        """Be told as soon as anything that was written is not read."""
        transport.set_write_buffer_limits(high=0)
        self._reads = _Deadline(transport, self.patience)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._reads.call_off()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Begin to wait for the client to read."""
        super().pause_writing()
        self._reads.set()

    def resume_writing(self) -> None:
        """Go on writing: everything was read."""
        super().resume_writing()
        self._reads.call_off()


class HttpConnection(_MustRead, H11Protocol):
    """A connection over which requests come one after another."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the head of a request."""
        super().connection_made(transport)
        self.watch_reading(transport)
        self._sends = _Deadline(transport, self.patience)
        self._sends.set()

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Wait for the next request, or for what is left of this one's body."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._sends.call_off()
        super().connection_lost(exc)

    def _watch(self) -> None:
        answered = self.conn.our_state in {h11.DONE, h11.MUST_CLOSE}
        unread = self.conn.their_state is h11.SEND_BODY
        if self.conn.their_state is h11.IDLE or (answered and unread):
            self._sends.set()
        else:
            self._sends.call_off()


class WebSocketConnection(_MustRead, WebSocketsSansIOProtocol):
    """A WebSocket; that its client lives is what pings find out."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over a connection from ``HttpConnection``."""
        super().connection_made(transport)
        self.close_timeout = self.patience
        self.watch_reading(self.transport)


def connection_classes(patience: float) -> tuple[type[asyncio.Protocol], type[asyncio.Protocol]]:
    """Return the classes for HTTP and for WebSockets.

    Args:
        patience: the most seconds that a client may take to send a request's head, or to read anything at all.
    """
    made: Any = tuple(
        type(kind.__name__, (kind,), {"patience": patience}) for kind in (HttpConnection, WebSocketConnection)
    )
    return cast(tuple[type[asyncio.Protocol], type[asyncio.Protocol]], made)
