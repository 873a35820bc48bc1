"""Whose the tokens of a batch are, and where in the arena they belong."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Self

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

    def first_key(self, window: int | None) -> int:
        """Return the first place of the row that its tokens see, if each sees ``window`` places at most."""
        return 0 if window is None else max(0, self.position + 1 - window)


@dataclass(frozen=True)
class Short:
    """Single tokens of short texts, whose keys are copied to lie side by side, filled up to one length.

    Attributes:
        rows: where the tokens stand in the batch, [texts].
        slots: where in the arena their keys are, [texts, length]; a text's last one stands in for those it has not.
        mask: what is added to scores, [texts, 1, 1, length]: zero, or minus infinity where a text has no key.
    """

    rows: torch.Tensor
    slots: torch.Tensor
    mask: torch.Tensor

    @classmethod
    def of(
        cls,
        rows: torch.Tensor,
        starts: torch.Tensor,
        lengths: torch.Tensor,
        longest: int,
        dtype: torch.dtype,
    ) -> Self:
        """Say where the keys of these tokens are.

        Args:
            rows: where the tokens stand in the batch, [texts].
            starts: places in the arena of the first keys that they see, [texts].
            lengths: how many they see, [texts].
            longest: no length is greater.
            dtype: type of the scores.
        """
        places = torch.arange(longest, device=rows.device)[None]
        hidden = places >= lengths[:, None]
        mask = torch.zeros(hidden.shape, dtype=dtype, device=rows.device).masked_fill_(hidden, float("-inf"))
        slots = starts[:, None] + torch.minimum(places, lengths[:, None] - 1)
        return cls(rows, slots, mask[:, None, None])

    def copy_of(self, arena: torch.Tensor) -> torch.Tensor:
        """Return these texts' part of [tokens, kv heads, head size] as [texts, kv heads, length, head size]."""
        copied = arena.index_select(0, self.slots.flatten())
        return copied.view(*self.slots.shape, *arena.shape[1:]).transpose(1, 2)


Others = Sequence[tuple[int, Piece]]
"""Pieces that attend in a call each, each with the place of its first token in the batch."""


@dataclass(frozen=True)
class Seen:
    """Which keys each token sees: ``lengths`` of them from ``starts`` on in the arena, both [tokens].

    Attributes:
        starts: places of the first keys.
        lengths: 0 for the tokens of others.
        others: pieces of many tokens, which are better off with matrix products.
    """

    starts: torch.Tensor
    lengths: torch.Tensor
    others: Others


class Batch:
    """Which row each token of a batch belongs to.

    Args:
        pieces: in the order of their tokens.
        dtype: type of the hidden states.
        device: where they are.
        copies_keys: whether short texts may be filled up to one length, which shows in the last bits of a result.
    """

    def __init__(
        self, pieces: Sequence[Piece], dtype: torch.dtype, device: torch.device, *, copies_keys: bool = True
    ) -> None:
        self.pieces = tuple(pieces)
        self._dtype, self._device, self._copies_keys = dtype, device, copies_keys
        self._divided: dict[tuple[int, int | None], tuple[Short | None, Others]] = {}
        self._seen: dict[int | None, Seen] = {}
        self._masks: dict[tuple[Piece, int | None, int], torch.Tensor] = {}

    @cached_property
    def positions(self) -> torch.Tensor:
        """Return each token's place in its own text, [1, tokens]."""
        places = [place for piece in self.pieces for place in range(piece.position, piece.end)]
        return torch.tensor([places], device=self._device)

    @property
    def end(self) -> int:
        """Return how many tokens the longest text holds when these have come."""
        return max(piece.end for piece in self.pieces)

    @cached_property
    def slots(self) -> torch.Tensor:
        """Return each token's place in the arena, [tokens]."""
        starts = [piece.start for piece in self.pieces for _ in range(piece.tokens)]
        return self.positions[0] + torch.tensor(starts, device=self._device)

    @cached_property
    def _placed(self) -> Others:
        places = [0, *accumulate(piece.tokens for piece in self.pieces)]
        return list(zip(places, self.pieces, strict=False))

    def seen(self, window: int | None, few: int) -> Seen:
        """Return what each token sees.

        Args:
            window: how many of the last tokens a token sees, itself included; None for all.
            few: pieces of more tokens are among the others.
        """
        if window not in self._seen:
            ends = self.positions[0] + 1
            firsts = torch.zeros_like(ends) if window is None else (ends - window).clamp(min=0)
            others = [(place, piece) for place, piece in self._placed if piece.tokens > few]
            lengths = ends - firsts
            for place, piece in others:
                lengths[place : place + piece.tokens] = 0
            self._seen[window] = Seen(self.slots - self.positions[0] + firsts, lengths, others)
        return self._seen[window]

    def short_and_others(self, longest: int, window: int | None) -> tuple[Short | None, Others]:
        """Tell single tokens that see ``longest`` keys at most from all others; no less than two are worth copying.

        Args:
            longest: the most keys of a text that are copied.
            window: how many of the last tokens a token sees, itself included; None for all.
        """
        if (key := (longest, window)) not in self._divided:
            short = [
                (place, piece)
                for place, piece in self._placed
                if self._copies_keys and piece.tokens == 1 and piece.end - piece.first_key(window) <= longest
            ]
            if len(short) < 2:
                self._divided[key] = None, self._placed
            else:
                self._divided[key] = (
                    self._side_by_side(short, window),
                    [one for one in self._placed if one not in short],
                )
        return self._divided[key]

    def _side_by_side(self, placed: Others, window: int | None) -> Short:
        lengths = [piece.end - piece.first_key(window) for _, piece in placed]
        starts = [piece.start + piece.first_key(window) for _, piece in placed]
        rows = [place for place, _ in placed]
        of_each = torch.tensor([rows, starts, lengths], device=self._device)
        return Short.of(of_each[0], of_each[1], of_each[2], max(lengths), self._dtype)

    def mask(self, piece: Piece, window: int | None, group: int) -> torch.Tensor:
        """Return what is added to a piece's scores: zero, or minus infinity where a token does not see a key.

        Args:
            piece: whose tokens.
            window: how many of the last tokens a token sees, itself included; None for all.
            group: how many heads share their keys.

        Returns:
            [group * tokens, keys from the first one on that is seen].
        """
        key = (piece, window, group)
        if key not in self._masks:
            queries = torch.arange(piece.position, piece.end, device=self._device)[:, None]
            keys = torch.arange(piece.first_key(window), piece.end, device=self._device)[None]
            hidden = keys > queries
            if window is not None:
                hidden |= keys <= queries - window
            mask = torch.zeros(hidden.shape, dtype=self._dtype, device=self._device)
            self._masks[key] = mask.masked_fill_(hidden, float("-inf")).repeat(group, 1)
        return self._masks[key]
