"""Tasks cross from a handler's process to the runtime's and back."""

import asyncio
import multiprocessing as mp
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest
import torch

from services.common.errors import InvalidInput
from services.swarm.serving.channels import Channels
from services.swarm.serving.pool import BytesTaskPool

TASKS = 3
HANDLERS = 2
FORK = mp.get_context("fork")
Pools = tuple[Channels, list[BytesTaskPool]]
Work = Callable[[list[BytesTaskPool]], Awaitable[None]]


def twice(tensor: torch.Tensor, *_: object) -> list[torch.Tensor]:
    return [tensor * 2]


def thrice(tensor: torch.Tensor, *_: object) -> list[torch.Tensor]:
    return [tensor * 3]


@pytest.fixture
def pools() -> Iterator[Pools]:
    channels = Channels(HANDLERS)
    made = [
        BytesTaskPool(channels, function, max_batch_size=4, name=name, device=torch.device("cpu"))
        for name, function in (("forward", twice), ("backward", thrice))
    ]
    yield channels, made
    channels.close()


class Fragile(Exception):
    """Cannot be made again from its message alone, as Python makes exceptions from what was sent."""

    def __init__(self, one: str, another: str) -> None:
        super().__init__(f"{one} {another}")


class Unspeakable(Exception):
    """Holds what cannot be sent to another process."""

    def __init__(self) -> None:
        super().__init__(lambda: None)


@contextmanager
def handlers(pools: Pools, *work: Work) -> Iterator[None]:
    """Let forked processes do this, in the order of their numbers; all must succeed."""
    channels, made = pools

    async def handle(number: int, own: Work) -> None:
        await channels.connect(number)
        async with asyncio.timeout(60):
            await own(made)

    processes = [
        FORK.Process(target=lambda number=number, own=own: asyncio.run(handle(number, own)))
        for number, own in enumerate(work)
    ]
    for process in processes:
        process.start()
    channels.start()
    try:
        yield
    finally:
        for process in processes:
            process.join(60)
    assert [process.exitcode for process in processes] == [0] * len(processes)


def serve(pools: Pools, tasks: int) -> None:
    """Answer so many tasks, as the runtime does."""
    channels, made = pools
    for _ in range(tasks):
        while not any(pool.waiting for pool in made):
            assert channels.receive(60)
        next(pool for pool in made if pool.waiting).run_next()


def asking(dtype: torch.dtype, size: int = 3) -> Work:
    async def ask(pools: list[BytesTaskPool]) -> None:
        for number in range(TASKS):
            tensor = torch.full((1, 2, size), number, dtype=dtype)
            (answer,) = await pools[0].submit_task(tensor, "not a tensor")
            assert torch.equal(answer, tensor * 2)
            assert answer.dtype == dtype

    return ask


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_handler_gets_each_answer(pools: Pools, dtype: torch.dtype) -> None:
    with handlers(pools, asking(dtype)):
        serve(pools, TASKS)


def test_what_is_larger_than_a_socket_holds_comes_whole(pools: Pools) -> None:
    with handlers(pools, asking(torch.float32, size=500_000)):
        serve(pools, TASKS)


def test_handlers_get_their_own_answers(pools: Pools) -> None:
    with handlers(pools, asking(torch.float32), asking(torch.int64)):
        serve(pools, HANDLERS * TASKS)


def test_a_task_reaches_the_pool_that_it_was_given_to(pools: Pools) -> None:
    async def ask(pools: list[BytesTaskPool]) -> None:
        asked = (pool.submit_task(torch.ones(1, 1, 2), "") for pool in pools)
        first, second = await asyncio.gather(*asked)
        assert (first[0][0, 0, 0], second[0][0, 0, 0]) == (2, 3)

    with handlers(pools, ask):
        serve(pools, 2)


@pytest.mark.parametrize(
    ("problem", "heard", "message"),
    [
        (InvalidInput("no", "go"), InvalidInput, "no — go"),
        (Fragile("a", "b"), RuntimeError, "cannot be read"),
        (Unspeakable(), RuntimeError, "cannot be sent"),
    ],
)
def test_a_handler_hears_what_a_task_failed_on(
    pools: Pools, problem: Exception, heard: type[Exception], message: str
) -> None:
    async def ask(pools: list[BytesTaskPool]) -> None:
        with pytest.raises(heard, match=message):
            await pools[0].submit_task(torch.ones(1, 1, 2), "")

    def fail(*_: object) -> list[torch.Tensor]:
        raise problem

    pools[1][0].process_func = fail
    with handlers(pools, ask):
        serve(pools, 1)


def test_answers_that_nobody_waits_for_any_more_do_no_harm(pools: Pools) -> None:
    async def ask(pools: list[BytesTaskPool]) -> None:
        leaving = asyncio.create_task(pools[0].submit_task(torch.zeros(1, 1, 2), ""))
        await asyncio.sleep(0)
        leaving.cancel()
        await asking(torch.float32)(pools)

    with handlers(pools, ask):
        serve(pools, 1 + TASKS)


def test_a_handler_hears_that_the_runtime_is_gone(pools: Pools) -> None:
    async def ask(pools: list[BytesTaskPool]) -> None:
        for _ in range(2):
            with pytest.raises(ConnectionError, match="has ended"):
                await pools[0].submit_task(torch.zeros(1, 1, 2), "")

    with handlers(pools, ask):
        assert pools[0].receive(60)
        pools[0].close()


def test_the_runtime_goes_on_when_a_handler_is_gone(pools: Pools) -> None:
    async def die(pools: list[BytesTaskPool]) -> None:
        task = asyncio.create_task(pools[1].submit_task(torch.zeros(1, 1, 500_000), ""))
        await asyncio.sleep(0)
        while pools[1]._channels._asking._writer.transport.get_write_buffer_size():
            await asyncio.sleep(0.01)
        task.cancel()
        os._exit(0)

    with handlers(pools, die, asking(torch.float32)):
        serve(pools, 1 + TASKS)


def test_a_task_that_finds_no_room_on_the_device_fails_alone(pools: Pools) -> None:
    async def ask(pools: list[BytesTaskPool]) -> None:
        with pytest.raises(NotImplementedError, match="meta"):
            await pools[1].submit_task(torch.ones(1, 1, 2), "")
        await asking(torch.float32)(pools)

    pools[1][1].device = torch.device("meta")
    pools[1][1].process_func = lambda tensor, _: [tensor]
    with handlers(pools, ask):
        serve(pools, 1 + TASKS)


def test_a_task_that_is_too_large_is_refused_where_it_comes_from(pools: Pools) -> None:
    async def submit() -> None:
        await asyncio.wait_for(pools[1][0].submit_task(torch.zeros(1, 5, 3)), 60)

    with pytest.raises(ValueError, match="5 tokens at once are more than 4"):
        asyncio.run(submit())


def test_only_a_handler_that_has_connected_may_ask(pools: Pools) -> None:
    with pytest.raises(ConnectionError, match="not connected"):
        asyncio.run(asyncio.wait_for(pools[1][0].submit_task(torch.zeros(1, 1, 3)), 60))
