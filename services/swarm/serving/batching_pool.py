"""Hands the steps of all sessions to the scheduler, behind the face of a pool of Petals' runtime."""

import queue
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from petals.data_structures import InferenceMetadata
from petals.server import block_functions
from petals.server.backend import _MergedInferenceStep
from petals.server.task_pool import Task
from petals.utils.misc import is_dummy

from services.swarm.serving.backend import BlockBackend
from services.swarm.serving.channels import Channels
from services.swarm.serving.gathering import Gathering
from services.swarm.serving.pool import BytesTaskPool, _pack, _unpack
from services.swarm.serving.scheduler import Answer, Scheduler, Step
from services.swarm.serving.usage import Usage

_MAX_PATIENCE = 0.5
"""The most seconds that a tick waits for others, however slow ticks are."""
_LOOKS_EVERY = 0.005
"""Seconds after which it looks whether those it waits for have closed their sessions."""
_SENT_AT_ONCE = 2**17
"""Bytes of an answer; Linux lets a socket hold 200 KiB."""


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

    def answer(self) -> list[Any] | Exception:
        """Return the outcome of a single step, or for a bundle all outputs and, for each step, what is wrong."""
        outcomes = [self._outcomes[step] for step in self.steps]
        if not isinstance(self.task.args[1], Bundle):
            return outcomes[0] if isinstance(outcomes[0], Exception) else [_pack(outcomes[0])]
        problems = [str(one) if isinstance(one, Exception) else None for one in outcomes]
        outputs = [one for one in outcomes if isinstance(one, torch.Tensor)]
        together = torch.cat(outputs, dim=1) if outputs else self.steps[0].hidden[:, :0]
        return [_pack(together), problems]


class BatchingPool(BytesTaskPool):
    """One pool for all blocks of a span, whose batches hold every step that waits.

    Petals' runtime asks a pool for one task, runs it and sends its answer. Here that is a tick of the scheduler,
    which may end many tasks or none. The runtime comes back as long as the pool has not taken note of a task's end in
    ``batch_receiver``.

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
            channels, self._tick, max_batch_size=max_task_tokens, device=device, name="batched_inference"
        )
        self._numbers = {uid: number for number, uid in enumerate(backends)}
        self._one_by_one = _MergedInferenceStep(backends)
        self._scheduler, self._usage = scheduler, usage
        self._gathering = Gathering(scheduler.is_open, first=first)
        self._asked: dict[Step, _Asked] = {}
        self._ticks = 0
        self._answers: dict[int, list[tuple[Task, list[Any] | Exception]]] = {}

    def _size(self, args: Sequence[Any]) -> int:
        """Return how many tokens a session's step brings; of several sessions, the longest."""
        if isinstance(bundle := args[1], Bundle):
            return max(tokens for _, _, tokens in bundle.parts)
        return super()._size(args)

    @property
    def waiting(self) -> int:
        """Return how many steps wait for a tick."""
        return super().waiting + len(self._asked)

    def load_batch_to_runtime(
        self, timeout: float | None = None, device: torch.device | None = None
    ) -> tuple[Any, list[Any]]:
        """Take every task that waits; returns the number of the tick that is to run."""
        unfinished = bool(self._asked)
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
        steps = self._bundled(task) if isinstance(task.args[1], Bundle) else [self._single(task)]
        asked = _Asked(task, steps)
        for step in steps:
            self._gathering.came(step.session)
            self._asked[step] = asked
            self._scheduler.submit(step)

    def _bundled(self, task: Task) -> list[Step]:
        hidden, bundle = self._to_device(task.args[0]), task.args[1]
        first, last = (self._numbers[uid] for uid in bundle.blocks)
        parts = hidden.split([tokens for _, _, tokens in bundle.parts], dim=1)
        return [
            Step(part, handle, position, range(first, last + 1), bundle.adapter)
            for part, (handle, position, _) in zip(parts, bundle.parts, strict=True)
        ]

    def _single(self, task: Task) -> Step:
        hidden, hypo_ids, infos, *prompts = (self._to_device(arg) for arg in task.args)
        blocks = [self._numbers[info.uid] for info in infos]
        span = range(blocks[0], blocks[-1] + 1)
        alone: Callable[[], torch.Tensor] | None = None
        if list(span) != blocks or not is_dummy(hypo_ids) or any(prompt is not None for prompt in prompts):
            alone = partial(self._run_alone, hidden, hypo_ids, infos, prompts)
        return Step(
            hidden,
            infos[0].cache_handles[0],
            infos[0].prefix_length,
            span,
            infos[0].active_adapter or "",
            alone,
        )

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
        """Run a tick; large answers wait under its number for ``send_outputs_from_runtime``."""
        start = time.monotonic()
        ended: list[Answer] = self._scheduler.tick()
        done = []
        for step, outcome in ended:
            asked = self._asked.pop(step)
            if asked.note(step, outcome):
                done.append(asked)
        # A GPU computes behind the program's back until its results are fetched
        answers = [(asked.task, asked.answer()) for asked in done]
        # Those of decoding go at once; for others the next tick does not wait
        self._answers[number] = [one for one in answers if not _is_small(one)]
        _send(one for one in answers if _is_small(one))
        seconds = time.monotonic() - start
        self._scheduler.pace.ticked(self._scheduler.ran, seconds)
        self._gathering.ticked(seconds)
        self._usage.batches += 1
        for _ in done:
            self.batch_receiver.recv()
        for step, outcome in ended:
            self._gathering.answered(step.session)
            if not isinstance(outcome, Exception):
                self._usage.served(step.rows * step.tokens, len(step.blocks))
        return (torch.empty(len(done)),)  # the runtime reads its length

    def send_outputs_from_runtime(self, uid: int, batch_outputs: Sequence[torch.Tensor]) -> None:
        """Answer the other tasks that ended with this tick; called by a thread that does nothing else."""
        _send(self._answers.pop(uid))


def _is_small(answer: tuple[Task, list[Any] | Exception]) -> bool:
    """Tell whether a socket takes it without waiting for its reader."""
    _, outcome = answer
    return isinstance(outcome, Exception) or outcome[0].nbytes <= _SENT_AT_ONCE


def _send(answers: Iterable[tuple[Task, list[Any] | Exception]]) -> None:
    for task, outcome in answers:
        if isinstance(outcome, Exception):
            task.future.set_exception(outcome)
        else:
            task.future.set_result(outcome)


def batch_inference(backends: Mapping[str, BlockBackend], pool: BatchingPool) -> None:
    """Let all inference of these blocks run through one pool, prompts of any length included.

    Petals sends a step of more than 128 tokens (of more than one, where weights have 4 bits) from block to block as a
    task for each; that it does not must be said before handlers are forked.
    """
    block_functions.MAX_SHORT_INFERENCE_TOKENS = pool.max_batch_size
    block_functions.MAX_NF4_SHORT_INFERENCE_TOKENS = pool.max_batch_size
    for backend in backends.values():
        backend.inference_pool = pool
