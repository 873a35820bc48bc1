"""A measured figure beside the goal that it is held against."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        name: what was measured.
        value: the measurement.
        unit: of value and goal: ``s``, ``MB``, ``tokens/s`` … or ``x`` for a ratio of two figures of one run.
        goal: what it should be at least (``x``) or at most (all others); None when it is only context.
    """

    name: str
    value: float
    unit: str
    goal: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without one."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.unit == "x" else self.value <= self.goal


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as lines of text, in the order given."""
    width = max((len(figure.name) for figure in figures), default=0)
    lines = []
    for figure in figures:
        line = f"{figure.name:<{width}}  {figure.value:10.2f} {figure.unit:<8}"
        if figure.goal is not None:
            bound = "≥" if figure.unit == "x" else "≤"
            line += f"  goal {bound} {figure.goal:g}  {'met' if figure.met else 'MISSED'}"
        lines.append(line.rstrip())
    return "\n".join(lines) + "\n"
