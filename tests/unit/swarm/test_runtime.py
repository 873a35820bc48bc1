"""Tasks run one after another, the most urgent first, until nobody can ask any more."""

import asyncio
import multiprocessing as mp
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import torch

from services.swarm.serving.channels import Channels
from services.swarm.serving.pool import BytesTaskPool
from services.swarm.serving.runtime import Runtime

FORK = mp.get_context("fork")


@pytest.fixture
def channels() -> Iterator[Channels]:
    made = Channels(1)
    yield made
    made.close()


def pool(channels: Channels, function: Callable[[torch.Tensor], Sequence[torch.Tensor]]) -> BytesTaskPool:
    return BytesTaskPool(channels, function, max_batch_size=4, name="pool", device=torch.device("cpu"))


@contextmanager
def asked(channels: Channels, pools: Sequence[BytesTaskPool], *tasks: tuple[int, float]) -> Iterator[None]:
    """Ask pools of these numbers for something of this priority, in this order, from a process of its own."""

    async def handle() -> None:
        await channels.connect(0)
        async with asyncio.timeout(60):
            await asyncio.gather(
                *(
                    pools[number].submit_task(torch.tensor([[place]]), priority=priority)
                    for place, (number, priority) in enumerate(tasks)
                )
            )

    process = FORK.Process(target=lambda: asyncio.run(handle()))
    process.start()
    channels.start()
    yield
    process.join(60)
    assert process.exitcode == 0


def test_the_most_urgent_task_of_all_pools_runs_first(channels: Channels) -> None:
    ran: list[int] = []

    def note(place: torch.Tensor) -> Sequence[torch.Tensor]:
        while not ran and sum(one.waiting for one in pools) < 4:
            channels.receive(60)
        ran.append(int(place))
        return [place]

    pools = [pool(channels, note), pool(channels, note)]
    runtime = Runtime(channels, pools)
    with ThreadPoolExecutor(1) as thread:
        with asked(channels, pools, (0, 5.0), (0, 2.0), (1, 1.0), (0, 1.0), (1, 2.0)):
            running = thread.submit(runtime.run)
        running.result(60)  # the handler is gone, so no more tasks can come

    assert ran == [0, 2, 3, 1, 4]
    assert runtime.idle


def test_it_is_not_idle_while_a_task_runs(channels: Channels) -> None:
    seen: list[bool] = []

    def look(place: torch.Tensor) -> Sequence[torch.Tensor]:
        seen.append(runtime.idle)
        return [place]

    pools = [pool(channels, look)]
    runtime = Runtime(channels, pools)
    with ThreadPoolExecutor(1) as thread, asked(channels, pools, (0, 1.0)):
        thread.submit(runtime.run)

    assert seen == [False]


def test_it_ends_when_the_channels_are_closed(channels: Channels) -> None:
    runtime = Runtime(channels, [])
    channels.start()
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(runtime.run)
        channels.close()
        running.result(60)

    assert runtime.idle
