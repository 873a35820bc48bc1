"""What a model hands to its layers for a token, kept for each position in a text.

Mostly these are rotary embeddings, and depend on nothing else. To run the model's ``forward`` for them each time
(``hollow.py``) takes half as long as a block does.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

Arguments = list[dict[str, Any]]
"""The keyword arguments of each layer."""

_FIRST, _MOST = 1024, 16_384
"""How many positions are kept at first, and at the most."""


class _NotByPosition(Exception):
    """Something else than its position decides what layers get for a token."""


@dataclass(frozen=True)
class _Rows:
    """What takes the place of a tensor that has something for each token: the same for each position."""

    known: torch.Tensor
    dim: int


@dataclass(frozen=True)
class KnownPositions:
    """What layers get for tokens at the first positions of a text.

    Attributes:
        end: how many positions these are.
    """

    end: int
    _kinds: list[dict[str, Any]]
    """Arguments that layers share, with ``_Rows`` in them."""
    _kind_of: list[int]
    """Which of them each layer gets."""

    def of(self, positions: torch.Tensor) -> Arguments:
        """Return the arguments of all layers for tokens at these positions, [1, tokens]."""
        filled = [_filled(kind, positions[0]) for kind in self._kinds]
        return [filled[kind] for kind in self._kind_of]


_NONE = KnownPositions(0, [], [])


class PositionTable:
    """Looks up what the model would compute; where more than positions decides, it is computed each time.

    Args:
        compute: lets the model compute it for tokens at these positions [1, tokens].
    """

    def __init__(self, compute: Callable[[torch.Tensor], Arguments]) -> None:
        self._compute = compute
        self._by_position = True
        self._known = _NONE

    def of(self, positions: torch.Tensor, end: int) -> Arguments:
        """Return the arguments of all layers for tokens at these positions [1, tokens], all before ``end``."""
        known = self.known(end, positions.device)
        return self._compute(positions) if known is None else known.of(positions)

    def known(self, end: int, device: torch.device) -> KnownPositions | None:
        """Return the arguments for all positions before ``end`` at least, or None where they are not kept."""
        if self._known.end < end <= _MOST and self._by_position:
            self._learn(end, device)
        return self._known if end <= self._known.end else None

    def _learn(self, end: int, device: torch.device) -> None:
        known = _FIRST
        while known < end:
            known *= 2
        # The last position is not among them: what depends on the longest text would not be noticed
        some = torch.tensor([[5, 0, known // 2, 5]], device=device)
        expected = self._compute(some)
        try:
            self._take(known, self._compute(torch.arange(known, device=device)[None]), expected, some[0])
        except _NotByPosition:
            self._by_position, self._known = False, _NONE

    def _take(self, known: int, computed: Arguments, expected: Arguments, some: torch.Tensor) -> None:
        """Keep what was computed for all positions, if that is also what is expected at some of them."""
        numbers: dict[tuple[int, ...], int] = {}
        kinds: list[dict[str, Any]] = []
        kind_of = []
        for arguments, those in zip(computed, expected, strict=True):
            kind = _by_position(arguments, those, some)
            key = tuple(map(id, arguments.values()))
            if key not in numbers:
                numbers[key] = len(numbers)
                kinds.append(kind)
            kind_of.append(numbers[key])
        self._known = KnownPositions(known, kinds, kind_of)


def _by_position(value: Any, expected: Any, some: torch.Tensor) -> Any:
    """Return the value with ``_Rows`` in it, which give what is expected at some positions."""
    if isinstance(value, torch.Tensor):
        sizes = enumerate(zip(value.shape, expected.shape, strict=False))
        differing = [dim for dim, (size, other) in sizes if size != other]
        by_position = _Rows(value, differing[0]) if differing else value
        if (
            value.dim() != expected.dim()
            or len(differing) > 1
            or not _filled(by_position, some).equal(expected)
        ):
            raise _NotByPosition
        return by_position
    if isinstance(value, dict):
        return {name: _by_position(one, expected[name], some) for name, one in value.items()}
    if isinstance(value, tuple):
        return tuple(_by_position(one, other, some) for one, other in zip(value, expected, strict=True))
    if value is not expected and value != expected:
        raise _NotByPosition
    return value


def _filled(value: Any, positions: torch.Tensor) -> Any:
    if isinstance(value, _Rows):
        return value.known.index_select(value.dim, positions)
    if isinstance(value, dict):
        return {name: _filled(one, positions) for name, one in value.items()}
    if isinstance(value, tuple):
        return tuple(_filled(one, positions) for one in value)
    return value
