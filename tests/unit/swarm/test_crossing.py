"""Calls from one event loop to the one of hivemind's connections, and back."""

import asyncio
import threading

import pytest

from services.swarm.client import crossing
from services.swarm.client.crossing import in_swarm


async def where() -> int:
    return threading.get_ident()


async def test_work_runs_on_another_thread_and_its_result_comes_back() -> None:
    threads = set(await asyncio.gather(*(in_swarm(where()) for _ in range(20))))

    assert len(threads) == 1
    assert threading.get_ident() not in threads


async def test_calls_of_one_turn_cross_together(monkeypatch: pytest.MonkeyPatch) -> None:
    await in_swarm(where())
    crossings: list[int] = []
    start = crossing.Crossing._start
    monkeypatch.setattr(
        crossing.Crossing, "_start", lambda self, going: (crossings.append(len(going)), start(self, going))
    )

    await asyncio.gather(*(in_swarm(where()) for _ in range(20)))

    assert crossings == [20]


async def test_what_fails_there_fails_here() -> None:
    async def fail() -> None:
        raise ValueError("there")

    with pytest.raises(ValueError, match="there"):
        await in_swarm(fail())
    assert await in_swarm(where())


async def test_who_is_cancelled_here_is_cancelled_there() -> None:
    begun, cancelled = threading.Event(), threading.Event()

    async def wait() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()

    call = asyncio.ensure_future(in_swarm(wait()))
    while not begun.is_set():
        await asyncio.sleep(0.01)
    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    assert await asyncio.to_thread(cancelled.wait, 5)


async def test_who_is_cancelled_before_it_leaves_never_runs() -> None:
    ran = threading.Event()

    async def run() -> None:
        ran.set()

    in_swarm(run()).cancel()
    await in_swarm(where())

    assert not ran.is_set()


async def test_what_is_cancelled_there_is_cancelled_here() -> None:
    async def give_up() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await in_swarm(give_up())


async def test_from_there_nothing_has_to_cross() -> None:
    async def there() -> tuple[int, int]:
        return threading.get_ident(), await in_swarm(where())

    own, inner = await in_swarm(there())
    assert own == inner


def test_a_loop_that_ends_leaves_nothing_behind() -> None:
    async def leave() -> None:
        in_swarm(asyncio.sleep(0.05))
        await in_swarm(where())

    for _ in range(3):
        asyncio.run(leave())

    assert len([loop for loop in crossing._crossings if loop.is_closed()]) <= 1
