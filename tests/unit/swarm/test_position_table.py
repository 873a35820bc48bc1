"""What layers get for a token is looked up by its position, and only where that is all that decides."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from services.swarm.family import position_table
from services.swarm.family.position_table import PositionTable


class Model:
    """Hands the same to layers 0 and 2, and something else to layer 1; counts how often it is asked."""

    def __init__(self, turn: Callable[[torch.Tensor], torch.Tensor] = torch.cos) -> None:
        self.turn = turn
        self.asked: list[int] = []

    def compute(self, positions: torch.Tensor) -> list[dict[str, Any]]:
        self.asked.append(positions.shape[1])
        angles = positions[..., None].float() * torch.tensor([1.0, 0.1])
        embeddings = (self.turn(angles), self.turn(angles / 2))
        mask = torch.zeros(1, 1, 1, 1)
        both = {"embeddings": embeddings, "ids": positions, "mask": mask, "past": None}
        return [dict(both), {**both, "embeddings": angles}, dict(both)]


def same(value: Any, other: Any) -> bool:
    if isinstance(value, dict):
        return value.keys() == other.keys() and all(same(one, other[name]) for name, one in value.items())
    if isinstance(value, list | tuple):
        return len(value) == len(other) and all(map(same, value, other))
    return torch.equal(value, other) if isinstance(value, torch.Tensor) else value is other


def at(*positions: int) -> torch.Tensor:
    return torch.tensor([positions])


def looked_up(table: PositionTable, positions: torch.Tensor) -> list[dict[str, Any]]:
    return table.of(positions, int(positions.max()) + 1)


@pytest.mark.parametrize("positions", [(7,), (0, 1, 2), (1023, 0, 5, 5), (1024, 3), (9000, 1)])
def test_it_knows_what_the_model_computes(positions: tuple[int, ...]) -> None:
    assert same(looked_up(PositionTable(Model().compute), at(*positions)), Model().compute(at(*positions)))


def test_the_model_is_asked_again_only_when_a_text_grows_beyond_what_is_known() -> None:
    model = Model()
    table = PositionTable(model.compute)
    asked = []
    for last in (10, 1023, 1024, 2047, 100):
        looked_up(table, at(last))
        asked.append(model.asked[-1])

    assert asked == [1024, 1024, 2048, 2048, 2048]
    assert len(model.asked) == 4  # each time once more, to compare


def test_positions_beyond_the_most_that_are_kept_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(position_table, "_MOST", 2048)
    model = Model()
    table = PositionTable(model.compute)

    assert same(looked_up(table, at(2048, 3)), Model().compute(at(2048, 3)))
    assert model.asked == [2]
    assert same(looked_up(table, at(2047, 3)), Model().compute(at(2047, 3)))


def longest_text(angles: torch.Tensor) -> torch.Tensor:
    return torch.cos(angles) * angles.max()


def tokens_before(angles: torch.Tensor) -> torch.Tensor:
    return torch.cos(angles).cumsum(1)


def pairs_of_tokens(angles: torch.Tensor) -> torch.Tensor:
    return torch.cos(angles) @ torch.cos(angles).transpose(1, 2)


def number_of_tokens(angles: torch.Tensor) -> torch.Tensor:
    return torch.full_like(angles, angles.shape[1])


@pytest.mark.parametrize("turn", [longest_text, tokens_before, pairs_of_tokens, number_of_tokens])
def test_where_more_than_positions_decides_the_model_is_asked_each_time(
    turn: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    table = PositionTable(Model(turn).compute)

    for positions in (at(4, 2), at(8), at(1, 1, 1)):
        assert same(looked_up(table, positions), Model(turn).compute(positions))
    assert table.known(1, torch.device("cpu")) is None


def test_what_was_known_stays_as_it_was_when_more_becomes_known() -> None:
    table = PositionTable(Model().compute)
    before = table.known(1024, torch.device("cpu"))

    after = table.known(1025, torch.device("cpu"))

    assert before is not None
    assert after is not None
    assert (before.end, after.end) == (1024, 2048)
    assert same(before.of(at(1023, 0)), after.of(at(1023, 0)))
