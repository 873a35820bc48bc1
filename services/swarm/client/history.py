"""What went into a server, kept so that another one can take its place."""

import torch


class PassedOn(Exception):
    """Tokens that nobody here has seen, for a server passed them on to another one.

    Attributes:
        position: of the first of them.
    """

    def __init__(self, position: int) -> None:
        super().__init__(f"what came after the first {position} tokens was passed on")
        self.position = position


class History:
    """The inputs [1, tokens, hidden] of one block, from the first token of a text on.

    Some may be missing, and are made again when they are wanted; those that came last are there in any case.
    """

    def __init__(self) -> None:
        self._parts: list[torch.Tensor] = []
        self._known = 0
        """How many tokens are kept, of those at the beginning."""
        self._latest: torch.Tensor | None = None
        """The last tokens, if some before them are missing."""
        self.length = 0
        """How many tokens went in, as far as is known here."""

    def extend_to(self, end: int, latest: torch.Tensor) -> None:
        """Add the tokens that are lacking up to ``end``, of which ``latest`` holds the last ones."""
        lacking = end - self._known
        if lacking > latest.shape[1]:
            self._latest = latest
        elif lacking > 0:
            self._parts.append(latest[:, -lacking:])
            self._known, self._latest = end, None
        self.length = end

    def since(self, position: int) -> torch.Tensor:
        """Return the tokens after the first ``position``, of which there must be one.

        Raises:
            PassedOn: some of these are missing.
        """
        if self._known < self.length:
            tokens = self.length - position
            if self._latest is None or tokens > self._latest.shape[1]:
                raise PassedOn(self._known)
            return self._latest[:, -tokens:]
        if position == self.length - self._parts[-1].shape[1]:
            return self._parts[-1]
        self._parts = [torch.cat(self._parts, dim=1)]
        return self._parts[0][:, position:]

    def truncate(self, length: int) -> None:
        """Forget all tokens after the first ``length``."""
        if self.length > length:
            self.length, self._latest = length, None
        while self._known > length:
            last = self._parts.pop()
            self._known -= last.shape[1]
            if self._known < length:
                self._parts.append(last[:, : length - self._known])
                self._known = length
