"""A thousand connections that behave badly: nothing of them is left, and a good client is served meanwhile."""

import asyncio
import json
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress

import pytest
import uvicorn
from websockets.asyncio.client import connect

from services.common.settings.endpoint import EndpointSettings
from services.endpoint.__main__ import server_config
from services.endpoint.models import Models
from tests.unit.endpoint.conftest import until, until_loaded
from tests.unit.endpoint.fake_model import NAME, FakeModel

HOST = b"host: localhost\r\n"
UPGRADE = (
    b"GET /api/v2/generate HTTP/1.1\r\n" + HOST + b"connection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
POST = b"POST /api/v1/generate HTTP/1.1\r\n" + HOST + b"content-type: application/json\r\n"
OPEN = {"type": "open_inference_session", "max_length": 400}
STREAM = {"type": "generate", "inputs": "Hi", "max_new_tokens": 1, "stop_sequence": "zzz"}
AT_ONCE = 200
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def frame(payload: bytes, opcode: int = 1, final: bool = True) -> bytes:
    """Return a masked frame of a client, whose mask changes nothing."""
    length = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2)
    return bytes([0x80 * final | opcode]) + length + bytes(4) + payload


def message(fields: object) -> bytes:
    return frame(json.dumps(fields).encode())


RUDE: dict[str, bytes] = {
    "says nothing": b"",
    "garbage": bytes(range(256)) * 4,
    "half a head": b"GET /heal",
    "no version": b"GET /healthz\r\n\r\n",
    "two lengths": POST + b"content-length: 5\r\ncontent-length: 6\r\n\r\n{}",
    "negative length": POST + b"content-length: -1\r\n\r\n",
    "a length without end": POST + b"content-length: " + b"9" * 400 + b"\r\n\r\n{}",
    "a body that never ends": POST + b"content-length: 1000\r\n\r\n{",
    "chunks that never end": POST + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "a chunk of nonsense": POST + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
    "smuggled": POST + b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n",
    "a huge header": b"GET /healthz HTTP/1.1\r\nx: " + b"y" * 100_000,
    "many headers": b"GET /healthz HTTP/1.1\r\n" + b"x: y\r\n" * 5000,
    "twenty requests in one": (POST + b"content-length: 2\r\n\r\n{}") * 20,
    "half a handshake": UPGRADE[:-2],
    "a handshake of another version": UPGRADE.replace(b"13", b"12"),
}
"""What is sent at once."""

RUDE_FRAMES: dict[str, bytes] = {
    "nothing": b"",
    "no frames": b"hello?" * 100,
    "an unmasked frame": b"\x81\x05hello",
    "an unknown opcode": frame(b"x", opcode=7),
    "a frame without end": b"\x81\xff" + b"\x7f" + b"\xff" * 7 + bytes(4) + b"x",
    "text that is no UTF-8": frame(b"\xff\xfe"),
    "half a message": frame(b'{"type"', final=False),
    "a continuation of nothing": frame(b"x", opcode=0),
    "a long ping": frame(b"x" * 126, opcode=9),
    "a close of nonsense": frame(b"\x00", opcode=8),
    "messages out of order": message(STREAM) + message(OPEN) + message(OPEN),
    "an answer that nobody reads": message(OPEN) + message(STREAM),
    "a flood of messages": message(OPEN) + message(STREAM) * 100,
}
"""What is sent once a WebSocket is open."""


async def hang_up(streams: Streams) -> bytes:
    streams[1].transport.abort()
    return b""


async def half_close(streams: Streams) -> bytes:
    with suppress(OSError):
        streams[1].write_eof()
    return await read_to_the_end(streams)


async def read_to_the_end(streams: Streams) -> bytes:
    reply = b""
    async with asyncio.timeout(20):
        with suppress(OSError):
            while piece := await streams[0].read(65536):
                reply += piece
    streams[1].transport.abort()
    return reply


ENDINGS: list[Callable[[Streams], Awaitable[bytes]]] = [read_to_the_end, hang_up, half_close]


async def misbehave(
    port: int, beginning: bytes, frames: bytes | None, end: Callable[[Streams], Awaitable[bytes]]
) -> bytes:
    """Return what the endpoint says to it."""
    streams = await asyncio.open_connection("127.0.0.1", port)
    # It may be cut off before it has said everything
    with suppress(OSError, EOFError):
        streams[1].write(beginning)
        await streams[1].drain()
        if frames is not None:
            assert b" 101 " in await streams[0].readuntil(b"\r\n\r\n")
            streams[1].write(frames)
            await streams[1].drain()
    return await end(streams)


KINDS = [(rude, None) for rude in RUDE.values()] + [(UPGRADE, frames) for frames in RUDE_FRAMES.values()]


class Served:
    """The endpoint on a port of the loopback, whose insides a test can count."""

    def __init__(self, model: FakeModel) -> None:
        settings = EndpointSettings(
            endpoint_host="127.0.0.1", client_timeout=1.0, idle_timeout=2.0, max_running=4, max_waiting=500
        )
        self.model = model
        self.models = Models({NAME: lambda: model})
        config = server_config(settings, self.models)
        config.port = 0  # the system chooses a free one
        config.timeout_keep_alive = 1
        self.server = uvicorn.Server(config)

    @property
    def port(self) -> int:
        return int(self.server.servers[0].sockets[0].getsockname()[1])

    def at_rest(self) -> bool:
        state = self.server.server_state
        return (
            not state.connections and not state.tasks and all(s.closed.is_set() for s in self.model.sessions)
        )


@pytest.fixture
def served(model: FakeModel) -> Iterator[Served]:
    one = Served(model)
    thread = threading.Thread(target=one.server.run)
    thread.start()
    until(lambda: one.server.started)
    until_loaded(one.models)
    yield one
    one.server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()


@asynccontextmanager
async def good_client(port: int) -> AsyncIterator[list[str]]:
    """Ask again and again; gives the answers so far."""
    answers: list[str] = []

    async def ask() -> None:
        while True:
            async with connect(f"ws://127.0.0.1:{port}/api/v2/generate") as socket:
                await socket.send(json.dumps(OPEN))
                assert json.loads(await socket.recv()) == {"ok": True}
                await socket.send(json.dumps({"type": "generate", "inputs": "Hi", "max_new_tokens": 4}))
                answer = json.loads(await socket.recv())
                answers.append(answer.get("outputs", answer))

    asking = asyncio.create_task(ask())
    yield answers
    asking.cancel()
    with suppress(asyncio.CancelledError):
        await asking


async def test_nothing_is_left_of_a_thousand_bad_connections(served: Served) -> None:
    places = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> bytes:
        (beginning, frames), end = KINDS[number % len(KINDS)], ENDINGS[number // len(KINDS) % len(ENDINGS)]
        async with places:
            return await misbehave(served.port, beginning, frames, end)

    await one(0)
    await asyncio.to_thread(until, served.at_rest)
    files = len(os.listdir("/proc/self/fd"))

    async with good_client(served.port) as answers:
        replies = await asyncio.gather(*map(one, range(1000)))
        before = len(answers)
        async with asyncio.timeout(20):
            while len(answers) == before:
                await asyncio.sleep(0.01)

    assert before > 0
    assert answers == ["Once"] * len(answers)
    for reply in filter(None, replies):
        assert not reply.startswith(b"HTTP/1.1 5")
        assert not any(word in reply for word in (b"Traceback", b'File "', b"unexpectedly"))
    await asyncio.to_thread(until, served.at_rest)
    await asyncio.to_thread(until, lambda: len(os.listdir("/proc/self/fd")) <= files)
