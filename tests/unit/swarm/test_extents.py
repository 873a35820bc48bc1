"""Extents of an arena: none overlaps another, and what is free can always be had in one piece."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.swarm.serving.extents import Extents

CAPACITY = 40


def test_the_lowest_gap_that_fits_is_given() -> None:
    extents = Extents(CAPACITY)
    for owner, size in enumerate([10, 5, 10, 5]):
        assert extents.place(owner, size) == []
    extents.free(0)
    extents.free(2)

    assert extents.place(4, 10) == []
    assert extents.start(4) == 0
    assert extents.place(5, 3) == []
    assert extents.start(5) == 15


def test_more_than_is_free_is_refused() -> None:
    extents = Extents(CAPACITY)
    extents.place(0, 30)

    with pytest.raises(MemoryError, match="11 tokens are wanted, 10 are free"):
        extents.place(1, 11)


def test_an_owner_has_one_extent() -> None:
    extents = Extents(CAPACITY)
    extents.place(0, 1)

    with pytest.raises(ValueError, match="has an extent already"):
        extents.place(0, 1)


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 5)), max_size=60))
def test_what_an_owner_wrote_stays_its_own_whatever_comes_and_goes(wishes: list[tuple[int, int]]) -> None:
    extents, tokens, sizes = Extents(CAPACITY), [-1] * CAPACITY, dict[int, int]()

    for owner, (size, age) in enumerate(wishes):
        if extents.used + size > CAPACITY:
            victim = list(sizes)[age % len(sizes)]
            extents.free(victim)
            del sizes[victim]
            continue
        for source, target, count in extents.place(owner, size):
            tokens[target : target + count] = tokens[source : source + count]
        sizes[owner] = size
        start = extents.start(owner)
        tokens[start : start + size] = [owner] * size

    assert extents.used == sum(sizes.values())
    for owner, size in sizes.items():
        start = extents.start(owner)
        assert tokens[start : start + size] == [owner] * size
