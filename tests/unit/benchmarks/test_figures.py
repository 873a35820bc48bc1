"""Figures beside their goals."""

import pytest

from scripts.benchmarks.figures import Figure, table


@pytest.mark.parametrize(
    ("value", "unit", "goal", "met"),
    [
        (19.9, "s", 20, True),
        (20.1, "s", 20, False),
        (0, "errors", 0, True),
        (1, "errors", 0, False),
        (0.9, "x", 0.9, True),
        (0.8, "x", 0.9, False),
        (5.1, "%", 5, False),
        (7, "ms", None, None),
    ],
)
def test_ratios_shall_be_high_and_all_else_low(
    value: float, unit: str, goal: float | None, met: bool | None
) -> None:
    assert Figure("a name", value, unit, goal).met is met


def test_a_missed_goal_is_seen() -> None:
    text = table([Figure("join", 61, "s", 60), Figure("ratio", 1, "x", 0.9), Figure("context", 3, "MB")])

    assert [line.split() for line in text.splitlines()] == [
        ["join", "61.00", "s", "goal", "≤", "60", "MISSED"],
        ["ratio", "1.00", "x", "goal", "≥", "0.9", "met"],
        ["context", "3.00", "MB"],
    ]
