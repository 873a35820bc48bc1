"""One piece of memory for the keys and values of all sessions, so that one batch can reach into all of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import torch
from hivemind.utils.tensor_descr import TensorDescriptor
from petals.data_structures import Handle

from services.swarm.serving.extents import Extents
from services.swarm.serving.groups import GROUP_TOKENS
from services.swarm.serving.session_memory import SessionMemory


@dataclass(frozen=True)
class _Opened:
    handles: int
    rows: int
    length: int


class _OpenedPipe:
    """Sends what Petals' handlers say about a session in a few bytes, whatever the number of blocks.

    Petals sends two descriptors per block; a few dozen openings would fill the pipe before the first step reads it,
    and a handler that cannot write keeps the lock that all others wait for.
    """

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def send(self, message: tuple[Sequence[Handle], Sequence[TensorDescriptor] | None]) -> None:
        handles, descriptors = message
        opened = None
        if descriptors is not None:
            rows, _, length, _ = descriptors[0].shape
            opened = _Opened(len(handles), rows, length)
        self._pipe.send((handles[0], opened))


class Arena(SessionMemory):
    """Keys and values of all sessions, in two tensors per block [tokens, kv heads, head size].

    A session's rows lie one behind the other, each as long as the session may become, at the same tokens of every
    block: of the first block that it uses in the first pair of tensors, and so on. It is charged for all blocks of
    the span, also if it uses only some.

    Args:
        tokens: how many it holds, of all sessions together.
        token_bytes: what a token takes in all blocks.
        max_alloc_timeout: the most seconds that a session waits for memory.
    """

    keys: torch.Tensor
    """[blocks, tokens, kv heads, head size]; made by ``lay_out``."""
    values: torch.Tensor

    def __init__(self, tokens: int, token_bytes: int, max_alloc_timeout: float) -> None:
        super().__init__(tokens * token_bytes, max_alloc_timeout)
        self._tokens, self._token_bytes = tokens, token_bytes
        self._extents = Extents(tokens)
        self._opened: dict[Handle, _Opened] = {}
        self._pipe_send: Any = _OpenedPipe(self._pipe_send)

    def get_allocation_size(self, *descriptors: TensorDescriptor) -> int:
        """Return the bytes that a session is charged, the same for any number of blocks."""
        rows, _, length, _ = descriptors[0].shape
        return int(rows * length) * self._token_bytes

    def lay_out(
        self, blocks: int, kv_heads: int, head_size: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        """Take the memory, before the first session is opened.

        The last tokens are no session's: what fills up a group is written there.

        On a CPU it is only reserved: the system gives a page when it is written for the first time, and nobody reads
        what he has not written.
        """
        size = (blocks, self._tokens + GROUP_TOKENS, kv_heads, head_size)
        self.keys, self.values = (torch.empty(size, dtype=dtype, device=device) for _ in ("keys", "values"))

    def catch_up(self) -> None:
        """Learn which sessions were opened and closed since; called by the runtime alone, between two steps."""
        while self._pipe_recv.poll():
            handle, opened = self._pipe_recv.recv()
            if opened is None:
                self._close(handle)
            else:
                self._open(handle, opened)

    def _open(self, handle: Handle, opened: _Opened) -> None:
        for source, target, count in self._extents.place(handle, opened.rows * opened.length):
            for tensor in (self.keys, self.values):
                tensor[:, target : target + count] = tensor[:, source : source + count].clone()
        self._opened[handle] = opened

    def _close(self, handle: Handle) -> None:
        self._extents.free(handle)
        del self._opened[handle]

    def holds(self, handle: Handle) -> bool:
        """Tell whether the session whose first handle this is has not been closed."""
        return handle in self._opened

    def rows(self, handle: Handle) -> list[int]:
        """Return where in the arena each row of the session begins."""
        opened, start = self._opened[handle], self._extents.start(handle)
        return [start + row * opened.length for row in range(opened.rows)]

    @contextmanager
    def use_cache(self, *handles: Handle) -> Iterator[tuple[torch.Tensor, ...]]:
        """Give views [rows, kv heads, length, head size] of what was allocated; for the runtime alone."""
        self.catch_up()
        yield tuple(self._view(handle) for handle in handles)

    def _view(self, handle: Handle) -> torch.Tensor:
        first = max(known for known in self._opened if known <= handle)
        opened, start = self._opened[first], self._extents.start(first)
        number = handle - first
        if number >= opened.handles:
            raise KeyError(handle)
        tensor = (self.keys, self.values)[number % 2][number // 2]
        rows = tensor[start : start + opened.rows * opened.length]
        return rows.view(opened.rows, opened.length, *rows.shape[1:]).transpose(1, 2)
