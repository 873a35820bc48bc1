"""What a text's chain of servers needs of the network: a session on each server, and where servers are found."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch

from services.swarm.client.company import Company
from services.swarm.client.onward import Heard

Address = tuple[str, str, int, int]
"""A session's server and name, and its first block and the one behind its last."""


class Stream(Protocol):
    """A session on one server; see ``services.swarm.client.stream.ServerStream``."""

    @property
    def address(self) -> Address:
        """Where another server pushes outputs to."""

    @property
    def goes_back(self) -> bool:
        """Return whether the server is known to understand ``go_back``."""

    def go_back(self, position: int) -> None:
        """Start the next message from an earlier position."""

    async def exchange(
        self, hidden: torch.Tensor, step_id: str, followers: Sequence[Address], *, pushed: bool
    ) -> torch.Tensor:
        """Send tokens and return what the server's blocks make of them; after any error it is of no use."""

    def passes_on(self, following: Any, tokens: int) -> bool:
        """Tell whether ``exchange_onward`` may be used for so many tokens."""

    async def exchange_onward(self, hidden: torch.Tensor, following: Any) -> Heard:
        """Send tokens for two servers, of which the first passes its outputs on to the other."""

    async def close(self) -> None:
        """Free the server's memory; never raises."""


class Routes(Protocol):
    """Knows the servers; see ``services.swarm.client.routes.PetalsRoutes``."""

    company: Company
    """Of the texts that use these routes."""

    @property
    def num_blocks(self) -> int:
        """How many blocks the model has."""

    async def find(self, start: int, end: int, max_length: int) -> Sequence[Any]:
        """Return spans that together are the blocks from ``start`` to before ``end``."""

    def open(self, span: Any, max_length: int) -> Stream:
        """Return a new session of ``max_length`` tokens on a span's server, not connected yet."""

    def pushing_pays(self, span: Any, following: Any) -> bool:
        """Tell whether a span's server shall send its outputs to the following one's, as well as to here."""

    def passing_on_pays(self, span: Any, following: Any) -> bool:
        """Tell the same where it passes on what many texts step in one message."""

    def succeeded(self, span: Any, tokens: int) -> None:
        """A server has answered, for so many tokens."""

    def failed(self, span: Any | None) -> None:
        """A server has not answered, or (None) none was found."""
