"""Tasks cross from a handler's process to the runtime's and back."""

import asyncio
import multiprocessing as mp
from collections.abc import Iterator

import pytest
import torch

from services.swarm.serving.pool import BytesTaskPool

TASKS = 3
FORK = mp.get_context("fork")


@pytest.fixture
def pool() -> Iterator[BytesTaskPool]:
    made = BytesTaskPool(lambda *tensors: tensors, max_batch_size=4, name="pool", device=torch.device("cpu"))
    made.start()
    yield made
    made.shutdown()
    made.join()


def serve(pool: BytesTaskPool, tasks: int) -> None:
    """Answer so many tasks with twice their first tensor, as the runtime does."""
    for _ in range(tasks):
        uid, (tensor, _) = pool.load_batch_to_runtime(timeout=60)
        pool.send_outputs_from_runtime(uid, [tensor * 2])


def ask(pool: BytesTaskPool, dtype: torch.dtype) -> None:
    """A handler: send task after task, each when the one before is answered."""

    async def talk() -> None:
        for number in range(TASKS):
            tensor = torch.full((1, 2, 3), number, dtype=dtype)
            (answer,) = await asyncio.wait_for(pool.submit_task(tensor, "not a tensor"), 60)
            assert torch.equal(answer, tensor * 2)
            assert answer.dtype == dtype

    asyncio.run(talk())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_handler_gets_each_answer(pool: BytesTaskPool, dtype: torch.dtype) -> None:
    handler = FORK.Process(target=ask, args=(pool, dtype))
    handler.start()
    serve(pool, TASKS)
    handler.join(60)

    assert handler.exitcode == 0


def test_handlers_get_their_own_answers(pool: BytesTaskPool) -> None:
    handlers = [FORK.Process(target=ask, args=(pool, dtype)) for dtype in (torch.float32, torch.int64)]
    for handler in handlers:
        handler.start()
    serve(pool, len(handlers) * TASKS)
    for handler in handlers:
        handler.join(60)

    assert [handler.exitcode for handler in handlers] == [0, 0]


def test_a_task_that_is_too_large_is_refused_where_it_comes_from(pool: BytesTaskPool) -> None:
    async def submit() -> None:
        await asyncio.wait_for(pool.submit_task(torch.zeros(1, 5, 3)), 60)

    with pytest.raises(ValueError, match="5 tokens at once are more than 4"):
        asyncio.run(submit())
