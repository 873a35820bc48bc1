"""How many texts step at about the same time, at this client."""

from types import TracebackType

_KEPT = 0.98
"""What of an earlier number counts at the next step: that of a wave of steps still does when the next one begins."""


class Company:
    """A context that each step runs in."""

    def __init__(self) -> None:
        self._stepping = 0
        self.size = 0.0
        """The most that stepped at once, lately."""

    def __enter__(self) -> None:
        self._stepping += 1
        self.size = max(self._stepping, _KEPT * self.size)

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self._stepping -= 1
