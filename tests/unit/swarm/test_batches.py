"""Who waits at the same time is computed together; failures and cancellations stay with whom they concern."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from services.swarm.client.batches import Batches


class Doubling:
    """Doubles numbers; below zero is that number's failure, and 13 fails everybody's."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, numbers: Sequence[int]) -> list[int | Exception]:
        assert self.gate.wait(20)
        self.calls.append(list(numbers))
        if 13 in numbers:
            raise RuntimeError("thirteen")
        return [ValueError(f"{number}") if number < 0 else 2 * number for number in numbers]


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as one:
        yield one


async def test_all_that_come_in_one_turn_are_one_call(thread: ThreadPoolExecutor) -> None:
    double = Doubling()
    batches = Batches(double, thread)
    assert await asyncio.gather(*map(batches.submit, range(12))) == [2 * number for number in range(12)]
    assert double.calls == [list(range(12))]


async def test_who_comes_during_a_call_is_in_the_next(thread: ThreadPoolExecutor) -> None:
    double = Doubling()
    double.gate.clear()
    batches = Batches(double, thread)
    first = asyncio.create_task(batches.submit(1))
    for _ in range(5):
        await asyncio.sleep(0)
    rest = [asyncio.create_task(batches.submit(number)) for number in (2, 3, 4)]
    await asyncio.sleep(0)
    double.gate.set()
    assert await asyncio.gather(first, *rest) == [2, 4, 6, 8]
    assert double.calls == [[1], [2, 3, 4]]


async def test_a_failure_is_its_own_and_a_broken_call_is_everybodys(thread: ThreadPoolExecutor) -> None:
    batches = Batches(Doubling(), thread)
    good, bad = await asyncio.gather(batches.submit(4), batches.submit(-1), return_exceptions=True)
    assert good == 8
    assert isinstance(bad, ValueError)
    broken = await asyncio.gather(batches.submit(4), batches.submit(13), return_exceptions=True)
    assert [type(one) for one in broken] == [RuntimeError, RuntimeError]
    assert await batches.submit(5) == 10


async def test_who_was_cancelled_is_not_computed_and_hinders_nobody(thread: ThreadPoolExecutor) -> None:
    double = Doubling()
    double.gate.clear()
    batches = Batches(double, thread)
    tasks = [asyncio.create_task(batches.submit(1))]
    for _ in range(5):
        await asyncio.sleep(0)
    tasks += [asyncio.create_task(batches.submit(number)) for number in (2, 3)]
    await asyncio.sleep(0)
    tasks[0].cancel()  # in the call that runs
    tasks[1].cancel()  # waits for the next
    await asyncio.sleep(0)
    double.gate.set()
    assert await tasks[2] == 6
    assert double.calls == [[1], [3]]


async def test_those_on_their_way_who_follow_each_other_closely_are_one_call(
    thread: ThreadPoolExecutor,
) -> None:
    double = Doubling()
    batches = Batches(double, thread)
    order = asyncio.Semaphore(0)

    async def travel(number: int) -> int:
        with batches.expecting():
            await order.acquire()
        return await batches.submit(number)

    travels = [asyncio.create_task(travel(number)) for number in range(6)]
    slow = asyncio.create_task(travel(6))
    for _ in range(6):
        order.release()
        await asyncio.sleep(0)
    assert await asyncio.gather(*travels) == [0, 2, 4, 6, 8, 10]
    order.release()
    assert await slow == 12
    assert double.calls == [list(range(6)), [6]]
