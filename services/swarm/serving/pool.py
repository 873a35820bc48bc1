"""Petals' pool of tasks, fed through sockets by handlers, with tensors as plain bytes.

Petals pickles torch tensors, and torch moves each through a shared-memory file of its own and a helper process.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from petals.server.task_pool import PrioritizedTaskPool, Task

from services.swarm.serving.channels import Channels, Reply


@dataclass(frozen=True)
class _Packed:
    data: bytearray
    dtype: torch.dtype
    shape: torch.Size

    @property
    def nbytes(self) -> int:
        return len(self.data)


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


class BytesTaskPool(PrioritizedTaskPool):
    """Petals' pool of tasks, ordered by priority.

    Args:
        channels: between handlers and this process.
        args: as Petals has them, with ``named``.
    """

    def __init__(self, channels: Channels, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._channels, self._number = channels, channels.add(self._receive)

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
        self.priority = min(self.priority, (priority, since))  # type: ignore[has-type]
        self._ordered_tasks.put(Task(priority, since, reply, args))
        self.batch_sender.send(None)  # wakes the runtime, which counts the tasks that wait

    def run(self) -> None:
        """Do nothing in a thread of its own, where Petals' pool takes tasks from a queue."""

    def shutdown(self) -> None:
        """Do nothing: there is no such thread."""

    @property
    def waiting(self) -> int:
        """Return how many tasks wait in the runtime's process."""
        return int(self._ordered_tasks.qsize())

    def load_batch_to_runtime(
        self, timeout: float | None = None, device: torch.device | None = None
    ) -> tuple[Any, list[Any]]:
        """Take the most urgent task, with its tensors on the runtime's device."""
        uid, args = super().load_batch_to_runtime(timeout, device)
        device = device or self.device
        return uid, [
            tensor.to(device) if isinstance(tensor := _unpack(arg), torch.Tensor) else tensor for arg in args
        ]

    def send_outputs_from_runtime(self, uid: int, batch_outputs: Sequence[torch.Tensor]) -> None:
        """Answer a task that ``load_batch_to_runtime`` gave."""
        super().send_outputs_from_runtime(uid, [_pack(output) for output in batch_outputs])
