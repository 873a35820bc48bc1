"""Clients that hold a connection without using it: each loses it after a while, whatever it was about to do."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from services.endpoint.connections import _Deadline, connection_classes
from tests.unit.endpoint.conftest import until

PATIENCE = 0.3
HEAD = b"GET / HTTP/1.1\r\nhost: a\r\n"
UPGRADE = (
    b"GET /endless HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Served:
    """A server whose application answers, or writes for ever."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        http, websocket = connection_classes(PATIENCE)
        routes = [
            Route("/", self._short, methods=["GET", "POST"]),
            Route("/endless", self._endless),
            WebSocketRoute("/endless", self._endless_messages),
        ]
        config = uvicorn.Config(
            Starlette(routes=routes), port=0, log_config=None, http=http, ws=websocket, timeout_keep_alive=60
        )
        self.server = uvicorn.Server(config)

    def connect(self) -> socket.socket:
        client = socket.socket()
        # Little room, so that who does not read is noticed soon
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(20)
        client.connect(self.server.servers[0].sockets[0].getsockname())
        return client

    @property
    def connections(self) -> int:
        return len(self.server.server_state.connections)

    async def _short(self, request: Request) -> PlainTextResponse:
        return PlainTextResponse("short")

    async def _endless(self, request: Request) -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"x" * 65536
                    await asyncio.sleep(0)
            finally:
                self.ended.set()

        return StreamingResponse(pieces())

    async def _endless_messages(self, websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            while True:
                await websocket.send_text("x" * 65536)
        finally:
            self.ended.set()


@pytest.fixture
def served() -> Iterator[Served]:
    one = Served()
    thread = threading.Thread(target=one.server.run)
    thread.start()
    until(lambda: one.server.started)
    yield one
    one.server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()


def read_to_the_end(client: socket.socket) -> bytes:
    """Return what comes until the connection ends, in whichever way."""
    content = b""
    try:
        while piece := client.recv(65536):
            content += piece
    except ConnectionResetError:
        pass
    return content


@pytest.mark.parametrize("begun", [b"", b"G", HEAD, HEAD + b"x: " + b"y" * 1000])
def test_a_request_that_does_not_come_to_its_end(served: Served, begun: bytes) -> None:
    with served.connect() as client:
        client.sendall(begun)
        assert read_to_the_end(client) == b""
    until(lambda: served.connections == 0)


def test_the_next_request_on_a_connection_that_was_good_before(served: Served) -> None:
    with served.connect() as client:
        client.sendall(HEAD + b"\r\n" + HEAD)
        assert read_to_the_end(client).endswith(b"short")


def test_a_body_that_goes_on_after_the_answer(served: Served) -> None:
    with served.connect() as client:
        client.sendall(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\nx")
        assert read_to_the_end(client).endswith(b"short")


@pytest.mark.parametrize("request_bytes", [HEAD.replace(b"/ ", b"/endless ") + b"\r\n", UPGRADE])
def test_who_does_not_read_stops_what_is_written_for_it(served: Served, request_bytes: bytes) -> None:
    with served.connect() as client:
        client.sendall(request_bytes)
        assert served.ended.wait(20)
        until(lambda: served.connections == 0)


@pytest.mark.parametrize("request_bytes", [HEAD.replace(b"/ ", b"/endless ") + b"\r\n", UPGRADE])
def test_who_closes_its_half_and_never_reads(served: Served, request_bytes: bytes) -> None:
    with served.connect() as client:
        client.sendall(request_bytes)
        client.shutdown(socket.SHUT_WR)
        assert served.ended.wait(20)
        until(lambda: served.connections == 0)


def test_a_head_that_is_too_large_is_refused(served: Served) -> None:
    with served.connect() as client:
        client.sendall(HEAD + b"x: " + b"y" * 70_000)
        assert b"short" not in read_to_the_end(client)
    until(lambda: served.connections == 0)


class FakeTransport:
    """Has so many unsent bytes at each look."""

    def __init__(self, *unsent: int) -> None:
        self._unsent = iter(unsent)
        self.looks = 0
        self.aborted = asyncio.Event()

    def get_write_buffer_size(self) -> int:
        self.looks += 1
        return next(self._unsent)

    def abort(self) -> None:
        self.aborted.set()


async def test_who_reads_slowly_is_waited_for_and_who_stops_is_not() -> None:
    looked: Any = FakeTransport(900, 600, 600, 1, 1, 1)
    _Deadline(looked, 0.001).set()

    await asyncio.wait_for(looked.aborted.wait(), 20)

    assert looked.looks == 6


async def test_what_is_called_off_never_happens() -> None:
    transport: Any = FakeTransport(0, 0)
    deadline = _Deadline(transport, 0.001)
    deadline.set()
    deadline.call_off()

    await asyncio.sleep(0.01)

    assert not transport.aborted.is_set()
