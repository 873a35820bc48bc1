"""What is guessed from what was said, and when it is better not to guess."""

from collections.abc import Sequence

import pytest

from services.endpoint.guessing import Guesser


async def nobody(tokens: Sequence[int], count: int) -> list[int]:
    return []


class Small:
    """A small model that says 7 again and again, and takes a second for each."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked: list[int] = []

    async def go_on(self, tokens: Sequence[int], count: int) -> list[int]:
        self.now += count
        self.asked.append(count)
        return [7] * count

    def guesser(self) -> Guesser:
        return Guesser(self.go_on, lambda: self.now)


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
async def test_what_followed_the_same_ending_follows_again(said: list[int], guess: list[int]) -> None:
    assert await Guesser(nobody).guess(said, most=8) == guess


@pytest.mark.parametrize("most", [-1, 0, 1, 3])
async def test_no_more_is_guessed_than_there_is_room_for(most: int) -> None:
    assert await Guesser(nobody).guess([1, 2, 3, 4, 5, 6, 1, 2], most) == [3, 4, 5, 6][: max(most, 0)]


async def test_what_was_added_since_is_known_the_next_time() -> None:
    guesser = Guesser(nobody)
    said = [1, 2, 3]
    assert await guesser.guess(said, 4) == []
    said += [4, 5, 9, 2, 3]
    assert await guesser.guess(said, 4) == [4, 5, 9, 2]


async def test_guesses_grow_while_they_are_right_and_shrink_when_not() -> None:
    guesser = Guesser(nobody)
    said = [5] * 20
    lengths = []
    for right in (1.0, 1.0, 0.5, 0.5):
        guess = await guesser.guess(said, 64)
        lengths.append(len(guess))
        guesser.checked(said, len(guess), int(right * len(guess)), 1.0)
    assert lengths == [4, 6, 8, 7]


async def test_a_text_that_is_not_what_it_seems_is_left_alone_for_a_while() -> None:
    guesser = Guesser(nobody)
    said = [5] * 20
    while guess := await guesser.guess(said, 64):
        guesser.checked(said, len(guess), 0, 1.0)
    waited = 0
    while not (guess := await guesser.guess(said, 64)):
        said.append(5)
        waited += 1
    assert waited == 64
    assert len(guess) == 1


async def test_where_nothing_is_repeated_the_small_model_guesses() -> None:
    small = Small()
    guesser = small.guesser()

    assert await guesser.guess([1, 2, 3], 8) == [7, 7, 7, 7]
    assert await guesser.guess([1, 2, 3, 1, 2], 8) == [3, 1, 2, 3]
    assert await guesser.guess([1, 2, 3, 1, 2, 9], 8, drafts=False) == []
    assert small.asked == [4]


@pytest.mark.parametrize(
    ("pass_seconds", "right", "goes_on"), [(4.0, 1.0, True), (0.5, 1.0, False), (4.0, 0.0, False)]
)
async def test_drafts_must_spare_more_time_than_they_take(
    pass_seconds: float, right: float, *, goes_on: bool
) -> None:
    small = Small()
    guesser = small.guesser()
    said = [1]
    for number in range(30):
        if guess := await guesser.guess(said, 4):
            guesser.checked(said, len(guess), int(right * len(guess)), pass_seconds)
        said.append(100 + number)

    assert (len(small.asked) == 30) is goes_on


async def test_what_a_draft_is_worth_says_nothing_about_repetitions() -> None:
    guesser = Small().guesser()
    said = list(range(20))
    while guess := await guesser.guess(said, 8):
        guesser.checked(said, len(guess), 0, 1.0)

    assert await guesser.guess([*said, 1, 2, 3], 8) == [4, 5, 6, 7]
