"""The sessions that a handler's process has open, by the names that their clients gave them."""

import asyncio
from dataclasses import dataclass

from petals.data_structures import Handle

from services.swarm.bundles import BUNDLED_TOKENS


@dataclass
class OpenSession:
    """What is known of a session between its steps.

    Attributes:
        handle: the first of its memory.
        blocks: keys of the first and the last block that it uses.
        adapter: the LoRA adapter that it runs with; empty for none.
        max_length: how many tokens it may hold.
        rows: how many texts it holds; 0 before its first step.
        position: how many tokens of each it holds.
        busy: whether a step of it runs.
        client: the stream by which the client's latest step came that came with others; answers to steps that another
            server passes on go there.
    """

    handle: Handle
    blocks: tuple[str, str]
    adapter: str
    max_length: int
    rows: int = 0
    position: int = 0
    busy: bool = False
    client: asyncio.StreamWriter | None = None

    @property
    def kind(self) -> tuple[tuple[str, str], str]:
        """Return what sessions have in common whose steps run in one batch."""
        return self.blocks, self.adapter

    def problem_with(self, position: int, tokens: int) -> str | None:
        """Return why so many tokens cannot be a step from this position on, beside other sessions' steps."""
        if self.busy:
            return "a step of this session runs"
        if self.rows != 1:
            return f"a session of {self.rows} texts has its steps for itself"
        if not 1 <= tokens <= BUNDLED_TOKENS:
            return f"{tokens} tokens are not 1 to {BUNDLED_TOKENS}"
        if position > self.position:
            return f"the session has not come to {position}, but to {self.position}"
        if position + tokens > self.max_length:
            return f"{position} + {tokens} tokens are more than the session's {self.max_length}"
        return None


OPEN: dict[str, OpenSession] = {}
"""Of this process alone: handlers are forked before any session is opened."""
