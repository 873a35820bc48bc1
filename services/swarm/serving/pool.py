"""Carries tasks from connection handlers to the runtime and back as plain bytes.

Petals' pool pickles torch tensors, and torch moves each through a shared-memory file of its own and a helper
process; every task also brings the pipe for its answer, and Python hands a pipe over by a connection with a
handshake. For the few kilobytes of a decoding step all that costs more than the step's own way.
"""

import os
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, ClassVar

import numpy as np
import torch
from hivemind.utils.mpfuture import ALL_STATES, MPFuture
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


class _Future(MPFuture):
    """hivemind's future without its state in shared memory, which allows others to cancel it; nobody does.

    The pipe for answers travels until the first of them has come: the runtime then has it.
    """

    _runtime_has_pipe_of: ClassVar[int | None] = None
    _pipes: ClassVar[dict[int, Connection]] = {}

    def __init__(self) -> None:
        MPFuture._maybe_initialize_mpfuture_backend()  # as a subclass, hivemind would fill in the wrong class
        super().__init__()
        self._shared_state_code = np.array([ALL_STATES.index(self._state)], dtype=np.uint8)

    @classmethod
    def answered(cls) -> None:
        """Note, in a handler's process, that the runtime knows where to send answers."""
        cls._runtime_has_pipe_of = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        """Return what the runtime's process needs to answer."""
        state: dict[str, Any] = super().__getstate__()
        if self._runtime_has_pipe_of == self._origin_pid:
            state["_sender_pipe"] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Become the end of it that the runtime answers at."""
        origin = state["_origin_pid"]
        if state["_sender_pipe"] is None:
            state["_sender_pipe"] = self._pipes[origin]
        self._pipes[origin] = state["_sender_pipe"]
        super().__setstate__(state)


class BytesTaskPool(PrioritizedTaskPool):
    """Petals' pool of tasks, ordered by priority, with tensors packed at both ends."""

    def submit_task(self, *args: Any, priority: float = 0.0) -> Awaitable[Sequence[torch.Tensor]]:
        """Queue a task from a handler's process; awaiting the answer gives the function's outputs."""
        future = _Future()
        task = Task(priority, time.monotonic(), future, tuple(map(_pack, args)))
        if (size := self.get_task_size(task)) > self.max_batch_size:
            future.set_exception(ValueError(f"{size} tokens at once are more than {self.max_batch_size}"))
        else:
            self.submitted_tasks.put(task)
            self.batch_sender.send(None)  # its readers count the tasks that wait
            self.priority = min(self.priority, (task.priority, task.time_submitted))  # type: ignore[has-type]
        return self._answer(future)

    async def _answer(self, future: _Future) -> Sequence[torch.Tensor]:
        outputs = await future
        future.answered()
        return [_unpack(output) for output in outputs]

    @property
    def waiting(self) -> int:
        """Return how many tasks wait in the runtime's process."""
        return int(self._ordered_tasks.qsize())

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
