"""What is guessed from what was said, and when it is better not to guess."""

import pytest

from services.endpoint.guessing import Guesser


@pytest.mark.parametrize(
    ("said", "guess"),
    [
        ([], []),
        ([1, 2], []),
        ([1, 2, 3, 4, 5], []),
        ([1, 2, 3, 4, 5, 6, 1, 2], [3, 4, 5, 6]),
        ([1, 2, 9, 9, 9, 9, 1, 2, 8, 8, 8, 8, 1, 2], [8, 8, 8, 8]),  # the latest place counts
        ([7, 1, 2, 5, 5, 5, 5, 6, 1, 2, 4, 4, 4, 4, 7, 1, 2], [5, 5, 5, 5]),  # the longest ending counts more
        ([1, 2, 3, 1, 2, 3, 1, 2], [3, 1, 2, 3]),  # a rhythm goes on
        ([5, 5, 5], [5, 5, 5, 5]),
    ],
)
def test_what_followed_the_same_ending_follows_again(said: list[int], guess: list[int]) -> None:
    assert Guesser().guess(said, most=8) == guess


@pytest.mark.parametrize("most", [-1, 0, 1, 3])
def test_no_more_is_guessed_than_there_is_room_for(most: int) -> None:
    assert Guesser().guess([1, 2, 3, 4, 5, 6, 1, 2], most) == [3, 4, 5, 6][: max(most, 0)]


def test_what_was_added_since_is_known_the_next_time() -> None:
    guesser = Guesser()
    said = [1, 2, 3]
    assert guesser.guess(said, 4) == []
    said += [4, 5, 9, 2, 3]
    assert guesser.guess(said, 4) == [4, 5, 9, 2]


def test_guesses_grow_while_they_are_right_and_shrink_when_not() -> None:
    guesser = Guesser()
    said = [5] * 20
    lengths = []
    for right in (1.0, 1.0, 0.5, 0.5):
        guess = guesser.guess(said, 64)
        lengths.append(len(guess))
        guesser.checked(said, len(guess), int(right * len(guess)))
    assert lengths == [4, 6, 8, 7]


def test_a_text_that_is_not_what_it_seems_is_left_alone_for_a_while() -> None:
    guesser = Guesser()
    said = [5] * 20
    while guess := guesser.guess(said, 64):
        guesser.checked(said, len(guess), 0)
    waited = 0
    while not (guess := guesser.guess(said, 64)):
        said.append(5)
        waited += 1
    assert waited == 64
    assert len(guess) == 1
