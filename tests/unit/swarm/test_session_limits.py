"""What a client works out for itself: how to write blocks down, and which tokens end a text."""

import pytest

from services.swarm.client.routes import ranges
from services.swarm.model import _token_ids


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
    assert ranges(blocks) == written


@pytest.mark.parametrize(("value", "ids"), [(None, set()), (0, {0}), (2, {2}), ([2, 5], {2, 5}), ([], set())])
def test_ends_of_text_are_one_number_many_or_none(value: int | list[int] | None, ids: set[int]) -> None:
    assert _token_ids(value) == ids
