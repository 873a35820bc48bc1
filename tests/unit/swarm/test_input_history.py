"""What went into a server: grows by what is lacking, gives any rest, forgets from the end."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from services.swarm.client.history import History

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
