"""What a client works out for itself: how often to try again, and how to write blocks down."""

import pytest

from services.swarm.model import _ranges, _retries_within, _token_ids


@pytest.mark.parametrize(
    ("blocks", "written"),
    [
        ([], "none"),
        ([0], "0:1"),
        ([0, 1, 2], "0:3"),
        ([0, 1, 5, 7, 8], "0:2, 5:6, 7:9"),
    ],
)
def test_blocks_are_written_as_spans(blocks: list[int], written: str) -> None:
    assert _ranges(blocks) == written


@pytest.mark.parametrize("seconds", [0.1, 0.5, 0.6, 1.5, 1.6, 7.5, 15.0, 60.0, 600.0])
def test_attempts_fill_the_time_and_no_more(seconds: float) -> None:
    attempts = _retries_within(seconds)
    pauses = [min(0.5 * 2**pause, 4.0) for pause in range(attempts - 1)]

    assert sum(pauses[:-1]) < seconds <= max(sum(pauses), 0.5)


@pytest.mark.parametrize(("value", "ids"), [(None, set()), (0, {0}), (2, {2}), ([2, 5], {2, 5}), ([], set())])
def test_ends_of_text_are_one_number_many_or_none(value: int | list[int] | None, ids: set[int]) -> None:
    assert _token_ids(value) == ids
