"""Steps of many sessions in one message: what is sent, and what a server does with it."""

import asyncio
import struct
from typing import Any

import msgpack
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from services.swarm.bundles import BUNDLED_TOKENS, Onward, Part, pack, read
from services.swarm.serving.batching_pool import Bundle
from tests.unit.swarm.bundle_server import BLOCKS, WIDTH, BundleServer, opened, tokens


@given(
    st.lists(
        st.tuples(
            st.text(),
            st.integers(0, 10**6),
            st.integers(0, 3),
            st.integers(0, 2**40),
            st.none() | st.text(),
            st.none() | st.builds(Onward, st.text(), st.text(), st.text()),
        ),
        max_size=5,
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


GOOD = {"parts": [("s", 3, 1, 0, None)], "type": "float32", "width": WIDTH}
ONE = bytes(4 * WIDTH)
UNREADABLE = {
    "too long a head": struct.pack(">II", 2**24, 0),
    "too long a body": struct.pack(">II", 10, 2**31),
    "no MessagePack": message(b"\xc1", ONE),
    "no parts": message({"type": "float32", "width": WIDTH}, ONE),
    "a part of another form": message({**GOOD, "parts": [("s", 3)]}, ONE),
    "a session that is no text": message({**GOOD, "parts": [(7, 3, 1, 0, None)]}, ONE),
    "tokens below zero": message({**GOOD, "parts": [("s", 3, -1, 0, None)]}, ONE),
    "another type": message({**GOOD, "type": "int64"}, ONE),
    "no width": message({**GOOD, "width": 0}, ONE),
    "half a number": message(GOOD, ONE[:-1]),
    "half a way onward": message({**GOOD, "parts": [("s", 3, 1, 0, None, "peer")]}, ONE),
    "fewer tokens than said": message({**GOOD, "parts": [("s", 3, 2, 0, None)]}, ONE),
}


@pytest.mark.parametrize("what", UNREADABLE)
async def test_a_client_that_sends_what_nobody_can_read_is_left(
    bundle_server: BundleServer, what: str
) -> None:
    opened("s", 0)
    async with bundle_server.listening():
        reader, writer = await bundle_server.connect()
        writer.write(UNREADABLE[what])

        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()
    assert bundle_server.pool.asked == []


async def test_steps_of_one_turn_are_one_task(bundle_server: BundleServer) -> None:
    sessions = {f"s{number}": opened(f"s{number}", 10 * number) for number in range(5)}
    async with bundle_server.lane() as lane:
        outputs = await asyncio.gather(
            *(lane.step(name, 3, tokens(1 + number, float(number))) for number, name in enumerate(sessions))
        )

    for number, output in enumerate(outputs):
        assert output.equal(tokens(1 + number, number + 1))
    (bundle,) = bundle_server.pool.asked
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
async def test_a_step_that_cannot_be_is_refused_and_others_run(
    bundle_server: BundleServer, what: str
) -> None:
    problem, session = REFUSED[what]
    opened("good", 5)
    if what != "unknown":
        opened("bad", 6, **session)
    async with bundle_server.lane() as lane:
        good, bad = await asyncio.gather(
            lane.step("good", 3, tokens(1)), lane.step("bad", 3, tokens(1)), return_exceptions=True
        )

    assert isinstance(good, torch.Tensor)
    assert isinstance(bad, RuntimeError)
    assert str(bad) == problem
    assert bundle_server.pool.asked == [Bundle(BLOCKS, "", ((5, 3, 1),))]


@pytest.mark.parametrize("count", [0, BUNDLED_TOKENS + 1])
async def test_so_many_tokens_are_no_step(bundle_server: BundleServer, count: int) -> None:
    opened("s", 0)
    async with bundle_server.lane() as lane:
        with pytest.raises(RuntimeError, match=f"{count} tokens are not 1 to {BUNDLED_TOKENS}"):
            await lane.step("s", 3, tokens(count))


async def test_hidden_states_of_another_width_are_refused(bundle_server: BundleServer) -> None:
    opened("s", 0)
    async with bundle_server.lane() as lane:
        with pytest.raises(RuntimeError, match="hidden states are 5 wide, not 4"):
            await lane.step("s", 3, torch.zeros(1, 5))


async def test_a_session_twice_in_a_message_runs_once(bundle_server: BundleServer) -> None:
    opened("s", 0)
    async with bundle_server.lane() as lane:
        results = await asyncio.gather(
            lane.step("s", 3, tokens(1)), lane.step("s", 2, tokens(1)), return_exceptions=True
        )

    assert [isinstance(one, torch.Tensor) for one in results] == [True, False]


async def test_sessions_of_other_blocks_go_in_another_message(bundle_server: BundleServer) -> None:
    opened("s", 0)
    opened("t", 1, blocks=("x.0", "x.1"))
    opened("u", 2, adapter="lora")
    async with bundle_server.lane() as lane:
        results = await asyncio.gather(
            *(lane.step(name, 3, tokens(1)) for name in "stu"), return_exceptions=True
        )

    assert [isinstance(one, torch.Tensor) for one in results] == [True, False, False]
    assert "are sent in another message" in str(results[1])


async def test_a_step_that_fails_is_told_from_those_that_do_not(bundle_server: BundleServer) -> None:
    sessions = [opened(name, handle) for handle, name in enumerate("stu")]
    bundle_server.pool.broken = {1}
    async with bundle_server.lane() as lane:
        results = await asyncio.gather(
            *(lane.step(name, 3, tokens(2, handle)) for handle, name in enumerate("stu")),
            return_exceptions=True,
        )

    assert torch.equal(results[0], tokens(2, 1))  # type: ignore[arg-type]
    assert str(results[1]) == "broken"
    assert torch.equal(results[2], tokens(2, 3))  # type: ignore[arg-type]
    assert [session.position for session in sessions] == [5, 3, 5]


async def test_a_runtime_that_fails_fails_all_of_a_message(
    bundle_server: BundleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = [opened(name, handle) for handle, name in enumerate("st")]

    async def fail(*_: object, **__: object) -> None:
        raise ValueError("no memory")

    monkeypatch.setattr(bundle_server.pool, "submit_task", fail)
    async with bundle_server.lane() as lane:
        results = await asyncio.gather(
            *(lane.step(name, 3, tokens(1)) for name in "st"), return_exceptions=True
        )

    assert [str(one) for one in results] == ["ValueError('no memory')"] * 2
    assert not any(session.busy for session in sessions)


async def test_a_session_may_step_from_where_it_was(bundle_server: BundleServer) -> None:
    session = opened("s", 0, position=9)
    async with bundle_server.lane() as lane:
        await lane.step("s", 5, tokens(2))

    assert session.position == 7
