"""Stop sequences: found however the text is cut, and the text before one is never late nor too early."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.endpoint.stopping import StopSequences


def run(sequences: list[str], pieces: list[str], kept: bool) -> tuple[list[str], str | None]:
    """Return what was shown after each piece, and what ended it."""
    stops = StopSequences(sequences, kept)
    shown = []
    for piece in pieces:
        text, found = stops.push(piece)
        shown.append(text)
        if found is not None:
            return shown, found
    shown.append(stops.flush())
    return shown, None


@pytest.mark.parametrize(
    ("sequences", "pieces", "shown", "found"),
    [
        (["STOP"], ["a", "ST", "OP", "b"], ["a", "", ""], "STOP"),
        (["STOP"], ["a S", "T", "AY"], ["a ", "", "STAY", ""], None),
        (["STOP"], ["a ST"], ["a ", "ST"], None),
        (["aab"], ["a", "a", "a", "b"], ["", "", "a", ""], "aab"),
        (["b", "abc"], ["xabc"], ["xa"], "b"),
        (["ab", "b"], ["xab"], ["x"], "ab"),
        (["##"], ["#", "x", "#"], ["", "#x", "", "#"], None),
        ([], ["a", "b"], ["a", "b", ""], None),
    ],
)
def test_what_may_begin_one_is_held_back(
    sequences: list[str], pieces: list[str], shown: list[str], found: str | None
) -> None:
    assert run(sequences, pieces, kept=False) == (shown, found)


def test_one_that_is_kept_holds_nothing_back() -> None:
    assert run(["STOP"], ["a", "ST", "OPb"], kept=True) == (["a", "ST", "OP"], "STOP")


@settings(max_examples=300, deadline=None)
@given(
    text=st.text("ab", max_size=30),
    sequences=st.lists(st.text("ab", min_size=1, max_size=4), max_size=3),
    size=st.integers(1, 5),
    kept=st.booleans(),
)
def test_how_the_text_is_cut_changes_nothing(text: str, sequences: list[str], size: int, kept: bool) -> None:
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    shown, found = run(sequences, pieces, kept)
    ends = [(text.index(one) + len(one), -len(one), one) for one in sequences if one in text]
    if not ends:
        assert (found, "".join(shown)) == (None, text)
        return
    end, _, sequence = min(ends)
    assert found == sequence
    assert "".join(shown) == text[: end if kept else end - len(sequence)]
