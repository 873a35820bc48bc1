"""Whose the tokens of a batch are, and where in the arena they belong."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch


@dataclass(frozen=True)
class Piece:
    """The tokens of one row of one session in a batch.

    Attributes:
        start: where in the arena the row begins.
        position: how many tokens the row holds already.
        tokens: how many come now.
    """

    start: int
    position: int
    tokens: int

    @property
    def end(self) -> int:
        """Return how many tokens the row holds when these have come."""
        return self.position + self.tokens


class Batch:
    """Which row each token of a batch belongs to.

    Args:
        pieces: in the order of their tokens.
        dtype: type of the hidden states.
        device: where they are.
    """

    def __init__(self, pieces: Sequence[Piece], dtype: torch.dtype, device: torch.device) -> None:
        self.pieces = tuple(pieces)
        self._dtype, self._device = dtype, device
        self._masks: dict[tuple[Piece, int | None], torch.Tensor] = {}

    @cached_property
    def positions(self) -> torch.Tensor:
        """Return each token's place in its own text, [1, tokens]."""
        places = [place for piece in self.pieces for place in range(piece.position, piece.end)]
        return torch.tensor([places], device=self._device)

    @cached_property
    def slots(self) -> torch.Tensor:
        """Return each token's place in the arena, [tokens]."""
        starts = [piece.start for piece in self.pieces for _ in range(piece.tokens)]
        return self.positions[0] + torch.tensor(starts, device=self._device)

    def mask(self, piece: Piece, first: int, window: int | None) -> torch.Tensor:
        """Return what is added to a piece's scores, [tokens, keys from ``first`` on]: zero, or minus infinity."""
        key = (piece, window)
        if key not in self._masks:
            queries = torch.arange(piece.position, piece.end, device=self._device)[:, None]
            keys = torch.arange(first, piece.end, device=self._device)[None]
            hidden = keys > queries
            if window is not None:
                hidden |= keys <= queries - window
            mask = torch.zeros(hidden.shape, dtype=self._dtype, device=self._device)
            self._masks[key] = mask.masked_fill_(hidden, float("-inf"))
        return self._masks[key]
