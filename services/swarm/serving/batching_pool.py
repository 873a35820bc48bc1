"""Hands the steps of all sessions to the scheduler, behind the face of a pool of Petals' runtime."""

import queue
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from petals.data_structures import InferenceMetadata
from petals.server import block_functions
from petals.server.backend import _MergedInferenceStep
from petals.server.task_pool import Task
from petals.utils.misc import is_dummy

from services.swarm.serving.backend import BlockBackend
from services.swarm.serving.gathering import Gathering
from services.swarm.serving.pool import BytesTaskPool, _pack, _unpack
from services.swarm.serving.scheduler import Answer, Scheduler, Step
from services.swarm.serving.usage import Usage

_MAX_PATIENCE = 0.5
"""The most seconds that a tick waits for others, however slow ticks are."""
_LOOKS_EVERY = 0.005
"""Seconds after which it looks whether those it waits for have closed their sessions."""


class BatchingPool(BytesTaskPool):
    """One pool for all blocks of a span, whose batches hold every step that waits.

    Petals' runtime asks a pool for one task, runs it and sends its answer. Here that is a tick of the scheduler,
    which may end many tasks or none. The runtime comes back as long as the pool has not taken note of a task's end in
    ``batch_receiver``.

    Args:
        backends: the blocks by their keys in the DHT, in their order.
        scheduler: decides what runs together.
        usage: is told what has run.
        max_task_tokens: the most tokens that one task may bring.
        device: where the blocks run.
        first: whether the span begins with the model's first block.
    """

    def __init__(
        self,
        backends: Mapping[str, BlockBackend],
        scheduler: Scheduler,
        usage: Usage,
        *,
        max_task_tokens: int,
        device: torch.device,
        first: bool,
    ) -> None:
        super().__init__(self._tick, max_batch_size=max_task_tokens, device=device, name="batched_inference")
        self._numbers = {uid: number for number, uid in enumerate(backends)}
        self._one_by_one = _MergedInferenceStep(backends)
        self._scheduler, self._usage = scheduler, usage
        self._gathering = Gathering(scheduler.is_open, first=first)
        self._tasks: dict[Step, Task] = {}
        self._ticks = 0
        self._answers: dict[int, list[tuple[Task, Any]]] = {}

    @property
    def waiting(self) -> int:
        """Return how many steps wait for a tick."""
        return super().waiting + len(self._tasks)

    def load_batch_to_runtime(
        self, timeout: float | None = None, device: torch.device | None = None
    ) -> tuple[Any, list[Any]]:
        """Take every task that waits; returns the number of the tick that is to run."""
        unfinished = bool(self._tasks)
        if not unfinished:
            self._take(self._ordered_tasks.get(timeout=timeout))
        # Steps that arrived while a tick ran go with the next one; who is about to come back is waited for, unless
        # a prompt has still to run anyway
        until = time.monotonic() + (0.0 if unfinished else _MAX_PATIENCE)
        while True:
            self._scheduler.catch_up()
            left = min(until - time.monotonic(), self._gathering.patience())
            try:
                self._take(self._ordered_tasks.get(block=left > 0, timeout=min(max(left, 0.0), _LOOKS_EVERY)))
            except queue.Empty:
                if left <= 0:
                    break
        self._ticks += 1
        return self._ticks, [self._ticks]

    def _take(self, task: Task) -> None:
        hidden, hypo_ids, infos, *prompts = (self._to_device(arg) for arg in task.args)
        blocks = [self._numbers[info.uid] for info in infos]
        span = range(blocks[0], blocks[-1] + 1)
        alone: Callable[[], torch.Tensor] | None = None
        if list(span) != blocks or not is_dummy(hypo_ids) or any(prompt is not None for prompt in prompts):
            alone = partial(self._run_alone, hidden, hypo_ids, infos, prompts)
        step = Step(
            hidden,
            infos[0].cache_handles[0],
            infos[0].prefix_length,
            span,
            infos[0].active_adapter or "",
            alone,
        )
        self._gathering.came(step.session)
        self._tasks[step] = task
        self._scheduler.submit(step)

    def _to_device(self, arg: Any) -> Any:
        value = _unpack(arg)
        return value.to(self.device) if isinstance(value, torch.Tensor) else value

    def _run_alone(
        self,
        hidden: torch.Tensor,
        hypo_ids: torch.Tensor,
        infos: Sequence[InferenceMetadata],
        prompts: Sequence[torch.Tensor | None],
    ) -> torch.Tensor:
        (output,) = self._one_by_one(hidden, hypo_ids, infos, *prompts)
        result: torch.Tensor = output
        return result

    def _tick(self, number: int) -> Sequence[torch.Tensor]:
        """Run a tick; its answers wait under its number for ``send_outputs_from_runtime``."""
        start = time.monotonic()
        ended: list[Answer] = self._scheduler.tick()
        # A GPU computes behind the program's back until its results are fetched
        self._answers[number] = [(self._tasks.pop(step), _portable(outcome)) for step, outcome in ended]
        seconds = time.monotonic() - start
        self._scheduler.pace.ticked(self._scheduler.ran, seconds)
        self._gathering.ticked(seconds)
        self._usage.batches += 1
        for step, outcome in ended:
            self.batch_receiver.recv()
            self._gathering.answered(step.session)
            if not isinstance(outcome, Exception):
                self._usage.served(step.hidden.shape[0] * step.hidden.shape[1], len(step.blocks))
        return (torch.empty(len(ended)),)  # the runtime reads its length

    def send_outputs_from_runtime(self, uid: int, batch_outputs: Sequence[torch.Tensor]) -> None:
        """Answer the tasks that ended with this tick."""
        for task, outcome in self._answers.pop(uid):
            if isinstance(outcome, Exception):
                task.future.set_exception(outcome)
            else:
                task.future.set_result([outcome])


def _portable(outcome: torch.Tensor | Exception) -> Any:
    return outcome if isinstance(outcome, Exception) else _pack(outcome)


def batch_inference(backends: Mapping[str, BlockBackend], pool: BatchingPool) -> None:
    """Let all inference of these blocks run through one pool, prompts of any length included.

    Petals sends a step of more than 128 tokens (of more than one, where weights have 4 bits) from block to block as a
    task for each; that it does not must be said before handlers are forked.
    """
    block_functions.MAX_SHORT_INFERENCE_TOKENS = pool.max_batch_size
    block_functions.MAX_NF4_SHORT_INFERENCE_TOKENS = pool.max_batch_size
    for backend in backends.values():
        backend.inference_pool = pool
