"""Hands the steps of all sessions to the scheduler, behind the face of a pool of tasks."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from petals.server import block_functions
from petals.server.backend import _MergedInferenceStep
from petals.utils.misc import is_dummy

from services.swarm.serving.backend import BlockBackend
from services.swarm.serving.channels import Channels
from services.swarm.serving.gathering import Gathering
from services.swarm.serving.pool import BytesTaskPool, Task, _pack
from services.swarm.serving.scheduler import Answer, Scheduler, Step
from services.swarm.serving.usage import Usage

_MAX_PATIENCE = 0.5
"""The most seconds that a tick waits for others, however slow ticks are."""
_LOOKS_EVERY = 0.005
"""Seconds after which it looks whether those it waits for have closed their sessions."""
_URGENCY = 1.0, 0.0
"""Of a tick: what Petals gives to all inference, before everything else that waits."""


@dataclass(frozen=True)
class Bundle:
    """Whose the tokens of a task are that brings steps of several sessions.

    Attributes:
        blocks: keys of the first and the last block that all of them use.
        adapter: with which LoRA adapter; empty for none.
        parts: the first handle of each session's memory, how many tokens it holds already, and how many come.
    """

    blocks: tuple[str, str]
    adapter: str
    parts: tuple[tuple[int, int, int], ...]


class _Asked:
    """A task, and the steps that must have ended before it can be answered."""

    def __init__(self, task: Task, steps: Sequence[Step]) -> None:
        self.task, self.steps = task, steps
        self._outcomes: dict[Step, torch.Tensor | Exception] = {}

    def note(self, step: Step, outcome: torch.Tensor | Exception) -> bool:
        """Note what became of a step; tell whether it was the last."""
        self._outcomes[step] = outcome
        return len(self._outcomes) == len(self.steps)

    def answer(self) -> None:
        """Send the outcome of a single step, or for a bundle all outputs and, for each step, what is wrong."""
        try:
            self.task.reply.set_result(self._result())
        except Exception as error:  # the step's, or that of a GPU, which tells when its numbers are fetched
            self.task.reply.set_exception(error)

    def _result(self) -> list[Any]:
        outcomes = [self._outcomes[step] for step in self.steps]
        if not isinstance(self.task.args[1], Bundle):
            if isinstance(outcomes[0], Exception):
                raise outcomes[0]
            return [_pack(outcomes[0])]
        problems = [str(one) if isinstance(one, Exception) else None for one in outcomes]
        outputs = [one for one in outcomes if isinstance(one, torch.Tensor)]
        together = torch.cat(outputs, dim=1) if outputs else self.steps[0].hidden[:, :0]
        return [_pack(together), problems]


class BatchingPool(BytesTaskPool):
    """One pool for all blocks of a span, whose batches hold every step that waits.

    What runs next is a tick of the scheduler, which may end many tasks or none.

    Args:
        channels: between handlers and this process.
        backends: the blocks by their keys in the DHT, in their order.
        scheduler: decides what runs together.
        usage: is told what has run.
        max_task_tokens: the most tokens that one task may bring.
        device: where the blocks run.
        first: whether the span begins with the model's first block.
    """

    def __init__(
        self,
        channels: Channels,
        backends: Mapping[str, BlockBackend],
        scheduler: Scheduler,
        usage: Usage,
        *,
        max_task_tokens: int,
        device: torch.device,
        first: bool,
    ) -> None:
        super().__init__(
            channels,
            _MergedInferenceStep(backends),
            max_batch_size=max_task_tokens,
            device=device,
            name="batched_inference",
        )
        self._numbers = {uid: number for number, uid in enumerate(backends)}
        self._scheduler, self._usage = scheduler, usage
        self._gathering = Gathering(scheduler.is_open, first=first)
        self._asked: dict[Step, _Asked] = {}
        self._unfinished = False
        """Whether the last tick has left steps that are not at their end."""

    def _size(self, args: Sequence[Any]) -> int:
        """Return how many tokens a session's step brings; of several sessions, the longest."""
        if isinstance(bundle := args[1], Bundle):
            return max(tokens for _, _, tokens in bundle.parts)
        return super()._size(args)

    @property
    def waiting(self) -> int:
        """Return how many steps wait for a tick."""
        return len(self._asked)

    @property
    def urgency(self) -> tuple[float, float]:
        """Return how urgent a tick is."""
        return _URGENCY

    def _take(self, task: Task) -> None:
        steps = self._bundled(task) if isinstance(task.args[1], Bundle) else [self._single(task)]
        asked = _Asked(task, steps)
        for step in steps:
            self._gathering.came(step.session)
            self._asked[step] = asked
            self._scheduler.submit(step)

    def run_next(self) -> None:
        """Run a tick, and answer the tasks that end with it."""
        self._gather()
        self._tick()
        self._unfinished = bool(self._asked)

    def _gather(self) -> None:
        """Let steps come that are about to.

        Those that arrived while a tick ran go with the next one; who is about to come back is waited for, unless a
        prompt has still to run anyway.
        """
        until = time.monotonic() + (0.0 if self._unfinished else _MAX_PATIENCE)
        while True:
            self._scheduler.catch_up()
            left = min(until - time.monotonic(), self._gathering.patience())
            if not self._channels.receive(min(max(left, 0.0), _LOOKS_EVERY)) and left <= 0:
                break

    def _bundled(self, task: Task) -> list[Step]:
        hidden, bundle = task.args
        first, last = (self._numbers[uid] for uid in bundle.blocks)
        parts = hidden.split([tokens for _, _, tokens in bundle.parts], dim=1)
        return [
            Step(part, handle, position, range(first, last + 1), bundle.adapter)
            for part, (handle, position, _) in zip(parts, bundle.parts, strict=True)
        ]

    def _single(self, task: Task) -> Step:
        hidden, hypo_ids, infos, *prompts = task.args
        blocks = [self._numbers[info.uid] for info in infos]
        span = range(blocks[0], blocks[-1] + 1)
        alone: Callable[[], torch.Tensor] | None = None
        if list(span) != blocks or not is_dummy(hypo_ids) or any(prompt is not None for prompt in prompts):
            alone = partial(_first_of, self.process_func, task.args)
        return Step(
            hidden,
            infos[0].cache_handles[0],
            infos[0].prefix_length,
            span,
            infos[0].active_adapter or "",
            alone,
        )

    def _tick(self) -> None:
        start = time.monotonic()
        ended: list[Answer] = self._scheduler.tick()
        for step, outcome in ended:
            asked = self._asked.pop(step)
            if asked.note(step, outcome):
                asked.answer()
        # A GPU computes behind the program's back until its results are fetched
        seconds = time.monotonic() - start
        self._scheduler.pace.ticked(self._scheduler.ran, seconds)
        self._gathering.ticked(seconds)
        self._usage.batches += 1
        for step, outcome in ended:
            self._gathering.answered(step.session)
            if not isinstance(outcome, Exception):
                self._usage.served(step.rows * step.tokens, len(step.blocks))


def _first_of(run: Callable[..., Sequence[torch.Tensor]], args: Sequence[Any]) -> torch.Tensor:
    return run(*args)[0]


def batch_inference(backends: Mapping[str, BlockBackend], pool: BatchingPool) -> None:
    """Let all inference of these blocks run through one pool, prompts of any length included.

    Petals sends a step of more than 128 tokens (of more than one, where weights have 4 bits) from block to block as a
    task for each; that it does not must be said before handlers are forked.
    """
    block_functions.MAX_SHORT_INFERENCE_TOKENS = pool.max_batch_size
    block_functions.MAX_NF4_SHORT_INFERENCE_TOKENS = pool.max_batch_size
    for backend in backends.values():
        backend.inference_pool = pool
