"""Accounts for the caches of open sessions, and closes the door to new ones when the server leaves."""

import multiprocessing as mp
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from hivemind.utils.tensor_descr import TensorDescriptor
from petals.data_structures import Handle
from petals.server.memory_cache import AllocationFailed, MemoryCache


class SessionMemory(MemoryCache):
    """Petals' accounting, which handlers' processes and the runtime's share; every open session has memory in it.

    Args:
        max_size_bytes: the most that all sessions may hold together.
        max_alloc_timeout: the most seconds that a session waits for memory.
    """

    def __init__(self, max_size_bytes: int, max_alloc_timeout: float) -> None:
        super().__init__(max_size_bytes, max_alloc_timeout)
        # Made before handlers are forked, so that they see it change
        self._closed = mp.RawValue("b", False)

    def close(self) -> None:
        """Refuse new sessions from now on, in all processes; open ones keep what they have."""
        self._closed.value = True

    @property
    def in_use(self) -> bool:
        """Whether a session is open, or waits for memory that it asked for in time."""
        return bool(self.current_size_bytes or self.enqueued_size_bytes)

    @asynccontextmanager
    async def allocate_cache(
        self, *descriptors: TensorDescriptor, timeout: float
    ) -> AsyncIterator[Sequence[Handle]]:
        """Hold memory for a session as long as the context is open; called by handlers.

        Raises:
            AllocationFailed: there is none, or the server leaves; Petals' client then asks another server.
        """
        if self._closed.value:
            raise AllocationFailed("this server is leaving and takes no new session")
        async with super().allocate_cache(*descriptors, timeout=timeout) as handles:
            yield handles
