"""What went into a server: grows by what is lacking, gives any rest, forgets from the end, knows what is missing."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from services.swarm.client.history import History, PassedOn

TEXT = torch.arange(60.0).reshape(1, 30, 2)


def test_only_what_is_lacking_is_added() -> None:
    history = History()
    history.extend_to(5, TEXT[:, :5])
    history.extend_to(5, TEXT[:, 3:5])
    history.extend_to(6, TEXT[:, :6])
    assert history.length == 6
    assert history.since(0).equal(TEXT[:, :6])


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 30), st.integers(0, 30)), max_size=12))
def test_it_is_always_the_beginning_of_the_text(moves: list[tuple[int, int, int]]) -> None:
    history = History()
    for grown, cut, since in moves:
        end = min(history.length + grown, 30)
        history.extend_to(end, TEXT[:, :end])
        if history.length:
            position = min(since, history.length - 1)
            assert history.since(position).equal(TEXT[:, position : history.length])
        history.truncate(cut)
        assert history.length == min(end, cut)


@pytest.fixture
def gap() -> History:
    """Tokens 5, 6 and 7 were passed on, and 8 and 9 were not."""
    history = History()
    history.extend_to(5, TEXT[:, :5])
    history.extend_to(10, TEXT[:, 8:10])
    return history


def test_the_last_tokens_are_there_though_others_are_missing(gap: History) -> None:
    assert gap.since(9).equal(TEXT[:, 9:10])
    assert gap.since(8).equal(TEXT[:, 8:10])
    gap.extend_to(11, TEXT[:, 10:11])
    assert gap.since(10).equal(TEXT[:, 10:11])


@pytest.mark.parametrize("position", [0, 4, 5, 7])
def test_who_asks_for_missing_tokens_is_told_where_they_begin(gap: History, position: int) -> None:
    with pytest.raises(PassedOn) as missing:
        gap.since(position)
    assert missing.value.position == 5


def test_missing_tokens_can_be_made_up_for(gap: History) -> None:
    gap.extend_to(10, TEXT[:, 5:10])
    gap.extend_to(12, TEXT[:, 10:12])
    assert gap.since(0).equal(TEXT[:, :12])


def test_what_is_forgotten_is_missing_no_longer(gap: History) -> None:
    gap.truncate(7)
    assert gap.length == 7
    with pytest.raises(PassedOn):
        gap.since(6)
    gap.truncate(5)
    gap.extend_to(6, TEXT[:, 5:6])
    assert gap.since(0).equal(TEXT[:, :6])
