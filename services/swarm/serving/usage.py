"""What a span has done since it started, for those who watch: written by the thread that computes, read by others."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from petals.data_structures import InferenceMetadata


class Usage:
    """Counts of one span; a token that passes through some of the blocks counts as that part of one.

    Args:
        num_blocks: blocks of the span.
    """

    def __init__(self, num_blocks: int) -> None:
        self._num_blocks, self._block_tokens = num_blocks, 0
        self.batches = 0

    @property
    def tokens(self) -> int:
        """Return how many tokens passed through the span."""
        return self._block_tokens // self._num_blocks

    def served(self, tokens: int, blocks: int) -> None:
        """Note that tokens passed through some blocks."""
        self._block_tokens += tokens * blocks

    def counting(
        self, step: Callable[..., tuple[torch.Tensor, ...]]
    ) -> Callable[..., tuple[torch.Tensor, ...]]:
        """Return Petals' merged step of inference, with each call noted as a batch."""

        def counted(
            hidden: torch.Tensor, hypo_ids: torch.Tensor, infos: Sequence[InferenceMetadata], *prompts: Any
        ) -> tuple[torch.Tensor, ...]:
            outputs = step(hidden, hypo_ids, infos, *prompts)
            self.batches += 1
            self.served(hidden.shape[0] * hidden.shape[1], len(infos))
            return outputs

        return counted
