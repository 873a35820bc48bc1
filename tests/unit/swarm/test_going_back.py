"""A server's steps that go back: where each begins, what is answered, what is refused."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hivemind import BatchTensorDescriptor, deserialize_torch_tensor, serialize_torch_tensor
from hivemind.proto import runtime_pb2
from petals.server.task_prioritizer import DummyTaskPrioritizer
from petals.utils.convert_block import QuantType
from petals.utils.misc import DUMMY, DUMMY_INT64

from services.swarm.serving.going_back import iterate_inference
from services.swarm.serving.open_sessions import OPEN

MAX_LENGTH = 10


class FakePool:
    """Answers each token with the position that its step starts from."""

    async def submit_task(
        self, hidden: torch.Tensor, hypo_ids: torch.Tensor, infos: Any, *prompts: Any, priority: float
    ) -> tuple[torch.Tensor]:
        return (torch.full_like(hidden, infos[0].prefix_length),)


async def answering(pool: FakePool, *steps: tuple[int, Any], rows: int = 1) -> AsyncIterator[torch.Tensor]:
    """Send steps of (tokens, start or None) of session ``s``; yield what the server answers to each."""
    backend = SimpleNamespace(
        dtype=torch.float32,
        inference_pool=pool,
        outputs_schema=(BatchTensorDescriptor(1, 4, 2, dtype=torch.float32),),
    )

    async def requests() -> AsyncIterator[tuple[Any, dict[str, Any]]]:
        for number, (tokens, start) in enumerate(steps):
            tensors = (torch.zeros(rows, tokens, 2), DUMMY, DUMMY_INT64)
            request = runtime_pb2.ExpertRequest(
                uid="x.0", tensors=[serialize_torch_tensor(one) for one in tensors]
            )
            metadata = {} if start is None else {"start_from_position": start}
            yield request, {"session_id": "s", "step_id": str(number), **metadata}

    async for tensors, can_push in iterate_inference(
        requested_uids=("x.0",),
        requested_backends=(backend,),
        active_adapter=None,
        input_iterator=requests(),
        cache_handles=((0, 1),),
        max_length=MAX_LENGTH,
        prioritizer=DummyTaskPrioritizer(),
        points=0,
        quant_type=QuantType.NONE,
    ):
        assert can_push
        yield deserialize_torch_tensor(tensors[0])


async def answers(*steps: tuple[int, Any], rows: int = 1) -> list[list[int]]:
    """Return for each step, per token, where the server thought it starts."""
    return [
        [int(value) for value in output[-1, :, 0]]
        async for output in answering(FakePool(), *steps, rows=rows)
    ]


async def test_without_going_back_steps_follow_each_other() -> None:
    assert await answers((3, None), (1, None), (1, None)) == [[0, 0, 0], [3], [4]]


@pytest.mark.parametrize("rows", [1, 3])
async def test_steps_start_where_they_say(rows: int) -> None:
    made = await answers((6, None), (2, 4), (1, None), (3, 7), (1, 0), (1, 1), (1, None), rows=rows)
    assert made == [[0] * 6, [4, 4], [6], [7] * 3, [0], [1], [2]]


async def test_room_that_was_given_back_can_be_used_again() -> None:
    assert await answers((10, None), (8, 2)) == [[0] * 10, [2] * 8]
    with pytest.raises(ValueError, match="Maximum length exceeded"):
        await answers((10, None), (9, 2))


@pytest.mark.parametrize("start", [-1, 7, "3", 2.5])
async def test_nobody_starts_where_the_session_has_not_been(start: Any) -> None:
    with pytest.raises(ValueError, match="start_from_position must be from 0 to 6"):
        await answers((6, None), (1, start))


async def test_other_steps_may_have_run_between_two() -> None:
    """As those do that come with steps of other sessions."""

    class Elsewhere(FakePool):
        async def submit_task(self, *args: Any, **named: Any) -> tuple[torch.Tensor]:
            seen.append((OPEN["s"].position, OPEN["s"].rows, OPEN["s"].busy))
            return await super().submit_task(*args, **named)

    seen: list[tuple[int, int, bool]] = []
    made = []
    async for tensors in answering(Elsewhere(), (5, None), (1, 7)):
        made.append([int(value) for value in tensors[-1, :, 0]])
        session = OPEN["s"]
        assert not session.busy
        assert (session.handle, session.blocks, session.adapter) == (0, ("x.0", "x.0"), "")
        session.position = 8

    assert made == [[0] * 5, [7]]
    assert seen == [(5, 1, True), (8, 1, True)]
    assert OPEN == {}


async def test_a_session_that_fails_is_open_no_more() -> None:
    steps = answering(FakePool(), (5, None), (1, 6))
    await anext(steps)
    assert "s" in OPEN

    with pytest.raises(ValueError, match="start_from_position"):
        await anext(steps)
    assert OPEN == {}
