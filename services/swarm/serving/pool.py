"""Petals' pools of tasks, fed through sockets by handlers, with tensors as plain bytes.

Petals pickles torch tensors, and torch moves each through a shared-memory file of its own and a helper process.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from threading import Thread
from typing import Any

import torch
from petals.server.task_pool import PrioritizedTaskPool

from services.swarm.serving.channels import Channels, Reply

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Packed:
    data: bytearray
    dtype: torch.dtype
    shape: torch.Size


def _pack(value: Any) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    raw = value.detach().cpu().contiguous().view(-1).view(torch.uint8)
    return _Packed(bytearray(raw.numpy().data), value.dtype, value.shape)


def _unpack(value: Any) -> Any:
    if not isinstance(value, _Packed):
        return value
    if not value.data:
        return torch.empty(value.shape, dtype=value.dtype)
    return torch.frombuffer(value.data, dtype=value.dtype).view(value.shape)


@dataclass(frozen=True, order=True)
class Task:
    """What a handler wants to be run.

    Attributes:
        priority: the lower it is, the more urgent.
        since: monotonic seconds when it was asked for.
        reply: who waits for it.
        args: for the pool's function.
    """

    priority: float
    since: float
    reply: Reply = field(compare=False)
    args: Sequence[Any] = field(compare=False)


class BytesTaskPool(PrioritizedTaskPool):
    """What Petals' handlers take for a pool of tasks; ``runtime.py`` runs them, the most urgent first.

    Args:
        channels: between handlers and this process.
        function: is given a task's arguments, with tensors on the device, and returns the outputs.
        max_batch_size: the most tokens of a task.
        device: where the function computes.
        name: for the log.
    """

    def __init__(
        self,
        channels: Channels,
        function: Callable[..., Sequence[Any]],
        *,
        max_batch_size: int,
        device: torch.device,
        name: str,
    ) -> None:
        # Petals' own constructor also makes pipes, queues and shared memory
        Thread.__init__(self, name=name, daemon=True)
        self.process_func, self.max_batch_size, self.device = function, max_batch_size, device
        self._channels, self._number = channels, channels.add(self._receive)
        self._tasks: list[Task] = []

    async def submit_task(self, *args: Any, priority: float = 0.0) -> Sequence[Any]:
        """Run a task from a handler's process and return the function's outputs.

        Raises:
            ValueError: it is larger than this pool takes.
            Exception: what the function failed on.
        """
        packed = tuple(map(_pack, args))
        if (size := self._size(packed)) > self.max_batch_size:
            raise ValueError(f"{size} tokens at once are more than {self.max_batch_size}")
        outputs = await self._channels.ask(self._number, (priority, time.monotonic(), packed))
        return [_unpack(output) for output in outputs]

    def _size(self, args: Sequence[Any]) -> int:
        """Return how many tokens a task brings: rows times length of its first tensor."""
        shape = args[0].shape if args and isinstance(args[0], _Packed) else ()
        return int(shape[0] * shape[1]) if len(shape) >= 2 else 1

    def _receive(self, reply: Reply, task: Any) -> None:
        priority, since, args = task
        try:
            self._take(Task(priority, since, reply, [self._to_device(arg) for arg in args]))
        except Exception as error:  # no memory, for example
            self._fail(reply, error)

    def _to_device(self, arg: Any) -> Any:
        value = _unpack(arg)
        return value.to(self.device) if isinstance(value, torch.Tensor) else value

    def _take(self, task: Task) -> None:
        heappush(self._tasks, task)

    @property
    def waiting(self) -> int:
        """Return how many tasks wait in the runtime's process."""
        return len(self._tasks)

    @property
    def urgency(self) -> tuple[float, float]:
        """Return the priority of the most urgent task that waits, and since when it does; there must be one."""
        return self._tasks[0].priority, self._tasks[0].since

    def run_next(self) -> None:
        """Run the most urgent task, and answer it."""
        task = heappop(self._tasks)
        try:
            outputs = [_pack(output) for output in self.process_func(*task.args)]
        except Exception as error:
            self._fail(task.reply, error)
        else:
            task.reply.set_result(outputs)

    def _fail(self, reply: Reply, error: Exception) -> None:
        logger.error("a task of %s failed", self.name, exc_info=error)
        reply.set_exception(error)
