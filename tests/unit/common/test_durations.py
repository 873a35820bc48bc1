"""How durations are written, on command lines and in settings alike."""

import pytest

from services.common.durations import seconds


@pytest.mark.parametrize(
    ("text", "expected"), [("90s", 90), ("30m", 1800), ("24h", 86400), ("7d", 604800), ("0s", 0)]
)
def test_a_number_and_a_unit_are_seconds(text: str, expected: int) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize(
    "text", ["", "90", "s", "-1s", "1.5h", "1 h", "1H", "1w", "1h30m", "1h\n", "٣s", "1" * 10 + "s"]
)
def test_anything_else_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration such as 90s, 30m, 24h or 7d"):
        seconds(text)
