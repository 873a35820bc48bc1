"""Carries tasks from connection handlers to the runtime and back as plain bytes.

Petals' pool pickles torch tensors, and torch moves each through a shared-memory file of its own and a helper
process. For the few kilobytes of a decoding step that costs more than the copy it saves.
"""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from petals.server.task_pool import PrioritizedTaskPool, Task


@dataclass(frozen=True)
class _Packed:
    data: bytearray
    dtype: torch.dtype
    shape: torch.Size


def _pack(value: Any) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    raw = value.detach().cpu().contiguous().view(-1).view(torch.uint8)
    return _Packed(bytearray(raw.numpy().tobytes()), value.dtype, value.shape)


def _unpack(value: Any) -> Any:
    if not isinstance(value, _Packed):
        return value
    if not value.data:
        return torch.empty(value.shape, dtype=value.dtype)
    return torch.frombuffer(value.data, dtype=value.dtype).view(value.shape)


class BytesTaskPool(PrioritizedTaskPool):
    """Petals' pool of tasks, ordered by priority, with tensors packed at both ends."""

    def submit_task(self, *args: Any, priority: float = 0.0) -> Awaitable[Sequence[torch.Tensor]]:
        """Queue a task from a handler's process; awaiting the answer gives the function's outputs."""
        return self._answer(super().submit_task(*map(_pack, args), priority=priority))

    async def _answer(self, future: Awaitable[Sequence[Any]]) -> Sequence[torch.Tensor]:
        return [_unpack(output) for output in await future]

    def get_task_size(self, task: Task) -> int:
        """Return how many tokens the task brings: rows times length of its first tensor."""
        shape = task.args[0].shape if task.args and isinstance(task.args[0], _Packed) else ()
        return int(shape[0] * shape[1]) if len(shape) >= 2 else 1

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
