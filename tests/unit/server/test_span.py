"""Which blocks a server is told to hold."""

import pytest

from services.common.errors import InvalidSetting
from services.common.settings import ServerSettings
from services.server.app import parse_span


@pytest.mark.parametrize(("written", "span"), [("0:4", range(4)), ("1:2", range(1, 2)), (None, None)])
def test_blocks_are_written_first_and_end(written: str | None, span: range | None) -> None:
    assert parse_span(written, 4) == span


@pytest.mark.parametrize("written", ["0:5", "4:5", "100:200"])
def test_blocks_beyond_the_model(written: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        parse_span(written, 4)

    assert str(refused.value) == (
        f"blocks {written} are wanted, the model has 4 — set CALYX_BLOCK_INDICES within 0:4"
    )


@pytest.mark.parametrize("written", ["4", "a:b", "-1:2", "2:1", "2:2", "0:", ":3", "0:1:2"])
def test_blocks_that_are_no_span(written: str) -> None:
    with pytest.raises(InvalidSetting, match="CALYX_BLOCK_INDICES"):
        ServerSettings.load(block_indices=written)
