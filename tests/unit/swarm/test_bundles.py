"""Steps of many sessions in one message: through real sockets, against a pool that notes what it was asked."""

import asyncio
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgpack
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from services.swarm.bundles import BUNDLED_TOKENS, Part, pack, read
from services.swarm.client import lanes
from services.swarm.client.lanes import Lane
from services.swarm.serving.batching_pool import Bundle
from services.swarm.serving.bundled import BundledSteps
from services.swarm.serving.open_sessions import OPEN, OpenSession

WIDTH = 4
BLOCKS = ("x.0", "x.2")


class FakePool:
    """Answers each token with one more, and each session whose handle is in ``broken`` with a problem."""

    def __init__(self) -> None:
        self.asked: list[Bundle] = []
        self.broken: set[int] = set()
        self.gate = asyncio.Event()
        self.gate.set()

    async def submit_task(self, hidden: torch.Tensor, bundle: Bundle, *, priority: float) -> list[Any]:
        self.asked.append(bundle)
        await self.gate.wait()
        parts = hidden.split([tokens for _, _, tokens in bundle.parts], dim=1)
        good = [
            one + 1
            for one, (handle, *_) in zip(parts, bundle.parts, strict=True)
            if handle not in self.broken
        ]
        problems = ["broken" if handle in self.broken else None for handle, *_ in bundle.parts]
        return [torch.cat(good, dim=1) if good else hidden[:, :0], problems]


class Server:
    """A handler's stream behind a socket, and what a client knows of the network to it."""

    def __init__(self, folder: Path) -> None:
        self.pool = FakePool()
        backend: Any = SimpleNamespace(
            inference_pool=self.pool,
            dtype=torch.float32,
            block=SimpleNamespace(config=SimpleNamespace(hidden_size=WIDTH)),
        )
        self.steps = BundledSteps(dict.fromkeys(("x.0", "x.1", "x.2"), backend))
        self.path = folder / "socket"
        self.connected = 0
        self.lost = False

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self.connected += 1
        return await asyncio.open_unix_connection(self.path)

    async def check(self) -> None:
        if self.lost:
            raise ConnectionError("lost")

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self.steps.serve(None, reader, writer)  # type: ignore[arg-type]

        async with await asyncio.start_unix_server(serve, self.path):
            yield

    @asynccontextmanager
    async def lane(self, timeout: float = 5.0) -> AsyncIterator[Lane]:
        async with self.listening():
            lane = Lane(self, timeout)
            yield lane
            lane.close()


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


@pytest.fixture(autouse=True)
def _no_session_is_left() -> Iterator[None]:
    OPEN.clear()
    yield
    OPEN.clear()


def opened(name: str, handle: int, *, position: int = 3, **more: Any) -> OpenSession:
    session = OpenSession(handle, **({"blocks": BLOCKS, "adapter": "", "max_length": 20, "rows": 1} | more))
    session.position = position
    OPEN[name] = session
    return session


def tokens(count: int, value: float = 0.0) -> torch.Tensor:
    return torch.full((count, WIDTH), float(value))


@given(
    st.lists(
        st.tuples(st.text(), st.integers(0, 10**6), st.integers(0, 3), st.none() | st.text()), max_size=5
    ),
    st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
    st.integers(1, 9),
)
def test_what_is_packed_is_read(parts: list[Any], dtype: torch.dtype, width: int) -> None:
    sent = [Part(*part) for part in parts]
    hidden = torch.randn(sum(part.tokens for part in sent), width).to(dtype)

    async def pass_on() -> tuple[list[Part], torch.Tensor]:
        stream = asyncio.StreamReader()
        stream.feed_data(pack(sent, hidden))
        return await read(stream)

    got, numbers = asyncio.run(pass_on())
    assert got == sent
    assert numbers.equal(hidden)


def message(head: object, body: bytes = b"") -> bytes:
    packed = head if isinstance(head, bytes) else msgpack.packb(head)
    return struct.pack(">II", len(packed), len(body)) + packed + body


GOOD = {"parts": [("s", 3, 1, None)], "type": "float32", "width": WIDTH}
ONE = bytes(4 * WIDTH)
UNREADABLE = {
    "too long a head": struct.pack(">II", 2**24, 0),
    "too long a body": struct.pack(">II", 10, 2**31),
    "no MessagePack": message(b"\xc1", ONE),
    "no parts": message({"type": "float32", "width": WIDTH}, ONE),
    "a part of another form": message({**GOOD, "parts": [("s", 3)]}, ONE),
    "a session that is no text": message({**GOOD, "parts": [(7, 3, 1, None)]}, ONE),
    "tokens below zero": message({**GOOD, "parts": [("s", 3, -1, None)]}, ONE),
    "another type": message({**GOOD, "type": "int64"}, ONE),
    "no width": message({**GOOD, "width": 0}, ONE),
    "half a number": message(GOOD, ONE[:-1]),
    "fewer tokens than said": message({**GOOD, "parts": [("s", 3, 2, None)]}, ONE),
}


@pytest.mark.parametrize("what", UNREADABLE)
async def test_a_client_that_sends_what_nobody_can_read_is_left(server: Server, what: str) -> None:
    opened("s", 0)
    async with server.listening():
        reader, writer = await server.connect()
        writer.write(UNREADABLE[what])

        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()
    assert server.pool.asked == []


async def test_steps_of_one_turn_are_one_task(server: Server) -> None:
    sessions = {f"s{number}": opened(f"s{number}", 10 * number) for number in range(5)}
    async with server.lane() as lane:
        outputs = await asyncio.gather(
            *(lane.step(name, 3, tokens(1 + number, float(number))) for number, name in enumerate(sessions))
        )

    for number, output in enumerate(outputs):
        assert output.equal(tokens(1 + number, number + 1))
    (bundle,) = server.pool.asked
    assert bundle == Bundle(BLOCKS, "", tuple((10 * number, 3, 1 + number) for number in range(5)))
    assert [session.position for session in sessions.values()] == [4, 5, 6, 7, 8]
    assert not any(session.busy for session in sessions.values())


REFUSED = {
    "unknown": ("there is no such session", {}),
    "rows": ("a session of 2 texts has its steps for itself", {"rows": 2}),
    "busy": ("a step of this session runs", {"busy": True}),
    "behind": ("the session has not come to 3, but to 2", {"position": 2}),
    "full": ("3 + 1 tokens are more than the session's 3", {"max_length": 3}),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_a_step_that_cannot_be_is_refused_and_others_run(server: Server, what: str) -> None:
    problem, session = REFUSED[what]
    opened("good", 5)
    if what != "unknown":
        opened("bad", 6, **session)
    async with server.lane() as lane:
        good, bad = await asyncio.gather(
            lane.step("good", 3, tokens(1)), lane.step("bad", 3, tokens(1)), return_exceptions=True
        )

    assert isinstance(good, torch.Tensor)
    assert isinstance(bad, RuntimeError)
    assert str(bad) == problem
    assert server.pool.asked == [Bundle(BLOCKS, "", ((5, 3, 1),))]


@pytest.mark.parametrize("count", [0, BUNDLED_TOKENS + 1])
async def test_so_many_tokens_are_no_step(server: Server, count: int) -> None:
    opened("s", 0)
    async with server.lane() as lane:
        with pytest.raises(RuntimeError, match=f"{count} tokens are not 1 to {BUNDLED_TOKENS}"):
            await lane.step("s", 3, tokens(count))


async def test_hidden_states_of_another_width_are_refused(server: Server) -> None:
    opened("s", 0)
    async with server.lane() as lane:
        with pytest.raises(RuntimeError, match="hidden states are 5 wide, not 4"):
            await lane.step("s", 3, torch.zeros(1, 5))


async def test_a_session_twice_in_a_message_runs_once(server: Server) -> None:
    opened("s", 0)
    async with server.lane() as lane:
        results = await asyncio.gather(
            lane.step("s", 3, tokens(1)), lane.step("s", 2, tokens(1)), return_exceptions=True
        )

    assert [isinstance(one, torch.Tensor) for one in results] == [True, False]


async def test_sessions_of_other_blocks_go_in_another_message(server: Server) -> None:
    opened("s", 0)
    opened("t", 1, blocks=("x.0", "x.1"))
    opened("u", 2, adapter="lora")
    async with server.lane() as lane:
        results = await asyncio.gather(
            *(lane.step(name, 3, tokens(1)) for name in "stu"), return_exceptions=True
        )

    assert [isinstance(one, torch.Tensor) for one in results] == [True, False, False]
    assert "are sent in another message" in str(results[1])


async def test_a_step_that_fails_is_told_from_those_that_do_not(server: Server) -> None:
    sessions = [opened(name, handle) for handle, name in enumerate("stu")]
    server.pool.broken = {1}
    async with server.lane() as lane:
        results = await asyncio.gather(
            *(lane.step(name, 3, tokens(2, handle)) for handle, name in enumerate("stu")),
            return_exceptions=True,
        )

    assert torch.equal(results[0], tokens(2, 1))  # type: ignore[arg-type]
    assert str(results[1]) == "broken"
    assert torch.equal(results[2], tokens(2, 3))  # type: ignore[arg-type]
    assert [session.position for session in sessions] == [5, 3, 5]


async def test_a_runtime_that_fails_fails_all_of_a_message(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = [opened(name, handle) for handle, name in enumerate("st")]

    async def fail(*_: object, **__: object) -> None:
        raise ValueError("no memory")

    monkeypatch.setattr(server.pool, "submit_task", fail)
    async with server.lane() as lane:
        results = await asyncio.gather(
            *(lane.step(name, 3, tokens(1)) for name in "st"), return_exceptions=True
        )

    assert [str(one) for one in results] == ["ValueError('no memory')"] * 2
    assert not any(session.busy for session in sessions)


async def test_a_session_may_step_from_where_it_was(server: Server) -> None:
    session = opened("s", 0, position=9)
    async with server.lane() as lane:
        await lane.step("s", 5, tokens(2))

    assert session.position == 7


async def test_many_tokens_are_several_messages(server: Server) -> None:
    names = [f"s{number}" for number in range(40)]
    for handle, name in enumerate(names):
        opened(name, handle)
    async with server.lane() as lane:
        await asyncio.gather(*(lane.step(name, 3, tokens(BUNDLED_TOKENS)) for name in names))

    assert [len(bundle.parts) for bundle in server.pool.asked] == [32, 8]
    assert server.connected == 1


async def test_who_leaves_before_the_answer_disturbs_nobody(server: Server) -> None:
    for handle, name in enumerate("st"):
        opened(name, handle)
    server.pool.gate.clear()
    async with server.lane() as lane:
        leaving, staying = (asyncio.create_task(lane.step(name, 3, tokens(1))) for name in "st")
        while not server.pool.asked:
            await asyncio.sleep(0.01)
        leaving.cancel()
        server.pool.gate.set()

        assert (await staying).equal(tokens(1, 1))
        assert lane._awaited == {}


async def test_outputs_of_a_session_do_not_keep_those_of_others_in_memory(server: Server) -> None:
    for handle, name in enumerate("st"):
        opened(name, handle)
    async with server.lane() as lane:
        for output in await asyncio.gather(*(lane.step(name, 3, tokens(1)) for name in "st")):
            assert output.untyped_storage().nbytes() == output.nbytes


async def test_a_lost_stream_fails_those_who_wait_and_is_opened_again(server: Server) -> None:
    opened("s", 0)
    server.pool.gate.clear()
    lane = Lane(server, 5.0)
    async with server.listening():
        step = asyncio.create_task(lane.step("s", 3, tokens(1)))
        while not server.pool.asked:
            await asyncio.sleep(0.01)
        assert lane._writer is not None
        lane._writer.close()
        with pytest.raises(ConnectionError, match="is lost"):
            await step
        server.pool.gate.set()
        OPEN["s"].busy = False

        assert (await lane.step("s", 3, tokens(1))).equal(tokens(1, 1))
    assert server.connected == 2
    lane.close()


async def test_a_server_that_cannot_be_reached_fails_the_step(server: Server) -> None:
    with pytest.raises(FileNotFoundError):
        await Lane(server, 5.0).step("s", 3, tokens(1))


async def test_a_silent_server_is_looked_at_and_given_up(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "LOOK_SECONDS", 0.01)
    opened("s", 0)
    server.pool.gate.clear()
    async with server.lane(timeout=0.05) as lane:
        with pytest.raises(TimeoutError, match="has not answered"):
            await lane.step("s", 3, tokens(1))
        OPEN["s"].busy = False
        server.lost = True
        with pytest.raises(ConnectionError, match="lost"):
            await lane.step("s", 3, tokens(1))


async def test_steps_that_wait_when_the_lane_is_closed_fail(server: Server) -> None:
    opened("s", 0)
    server.pool.gate.clear()
    async with server.lane() as lane:
        step = asyncio.create_task(lane.step("s", 3, tokens(1)))
        while not server.pool.asked:
            await asyncio.sleep(0.01)
        lane.close()
        with pytest.raises(ConnectionError, match="is closed"):
            await step


async def test_numbers_of_an_unknown_type_fail_their_step_alone(server: Server) -> None:
    opened("s", 0)
    async with server.lane() as lane:
        with pytest.raises(KeyError):
            await lane.step("s", 3, tokens(1).double())
        assert (await lane.step("s", 3, tokens(1))).equal(tokens(1, 1))
