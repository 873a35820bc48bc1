"""What a check of the machine says."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Check:
    """One requirement and how this machine meets it.

    Attributes:
        name: what is required, a word or two.
        verdict: ``ok``; ``warn`` when the stack works with less; ``fail`` when it does not.
        detail: what was found.
        remedy: what to do, for all but ``ok``.
    """

    name: str
    verdict: Verdict
    detail: str
    remedy: str | None = None
