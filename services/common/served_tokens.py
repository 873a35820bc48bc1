"""How many tokens each server of the swarm computed for this process, as whoever was answered counts them."""

from collections.abc import Mapping
from threading import Lock
from typing import NamedTuple

MAX_SERVERS = 1024
"""Servers that are counted; a flood of new ones is not."""


class Served(NamedTuple):
    """Tokens that came back from a server, and the blocks that each went through, added up."""

    tokens: int = 0
    token_blocks: int = 0


class ServedTokens:
    """Counts from the start of the process on; several threads may use it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: dict[tuple[str, str], Served] = {}

    def add(self, model: str, peer_id: str, tokens: int, blocks: int) -> None:
        """Note that ``tokens`` came back from a server, each through ``blocks`` of a model."""
        key = model, peer_id
        with self._lock:
            before = self._counts.get(key)
            if before is None and len(self._counts) >= MAX_SERVERS:
                return
            before = before or Served()
            self._counts[key] = Served(before.tokens + tokens, before.token_blocks + tokens * blocks)

    def counts(self) -> Mapping[tuple[str, str], Served]:
        """Return what was counted, by model and peer."""
        with self._lock:
            return dict(self._counts)
