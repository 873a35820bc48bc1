"""What the scheduler tells while it runs answers; ``metrics`` counts it."""

from contextlib import AbstractContextManager
from typing import Protocol, Self

from services.common.errors import CalyxError


class Watch(AbstractContextManager["Watch"], Protocol):
    """Follows one answer; how it is left tells how the answer ended, if ``finished`` did not."""

    def started(self, prompt_tokens: int) -> None:
        """It has got its place; its prompt has so many tokens."""

    def stepped(self, tokens: int) -> None:
        """So many tokens more were generated."""

    def finished(self, reason: str) -> None:
        """It ended as it should: see ``Finish.reason``."""


class Observer(Protocol):
    """Is told what happens; each call takes microseconds."""

    def asked(self, model: str) -> Watch:
        """Somebody asks this model for an answer."""

    def refused(self, error: CalyxError) -> None:
        """Somebody was refused before any model was asked."""


class NobodyWatches(AbstractContextManager["NobodyWatches"]):
    """Observer and watch where nobody wants to know."""

    def asked(self, model: str) -> Self:
        """Follow an answer without looking."""
        return self

    def refused(self, error: CalyxError) -> None:
        """Take no notice."""

    def started(self, prompt_tokens: int) -> None:
        """Take no notice."""

    def stepped(self, tokens: int) -> None:
        """Take no notice."""

    def finished(self, reason: str) -> None:
        """Take no notice."""

    def __exit__(self, *_: object) -> None:
        """Take no notice."""
