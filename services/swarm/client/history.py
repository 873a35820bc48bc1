"""What went into a server, kept so that another one can take its place."""

import torch


class History:
    """The inputs [1, tokens, hidden] of one block, from the first token of a text on."""

    def __init__(self) -> None:
        self._parts: list[torch.Tensor] = []
        self.length = 0
        """How many tokens are kept."""

    def extend_to(self, end: int, latest: torch.Tensor) -> None:
        """Add the tokens that are lacking up to ``end``, of which ``latest`` holds the last ones."""
        lacking = end - self.length
        if lacking > 0:
            self._parts.append(latest[:, -lacking:])
            self.length = end

    def since(self, position: int) -> torch.Tensor:
        """Return the tokens after the first ``position``, of which there must be one."""
        if position == self.length - self._parts[-1].shape[1]:
            return self._parts[-1]
        self._parts = [torch.cat(self._parts, dim=1)]
        return self._parts[0][:, position:]

    def truncate(self, length: int) -> None:
        """Forget all tokens after the first ``length``."""
        while self.length > length:
            last = self._parts.pop()
            self.length -= last.shape[1]
            if self.length < length:
                self._parts.append(last[:, : length - self.length])
                self.length = length
