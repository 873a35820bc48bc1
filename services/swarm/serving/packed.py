"""Runs the next tokens of many sessions through blocks in one call.

All tokens lie one behind the other in one row, as if they were one text: norms, linear layers and experts neither
know nor care whose they are. Attention alone does, so the layers' own attention modules are given a function of ours
(transformers' seam for this is ``AttentionInterface``), which looks from each session's tokens at that session's
keys. What an architecture has of its own there it says to that function: scale, window, soft-cap.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from services.swarm.family.block import DecoderBlock
from services.swarm.family.layer_inputs import LayerInputs
from services.swarm.serving import attention
from services.swarm.serving.groups import GROUP_TOKENS, groups
from services.swarm.serving.pieces import Batch, Piece


class PackedSpan:
    """Consecutive blocks, as they run batches of many sessions.

    Args:
        blocks: the blocks.
        inputs: what the model hands to their layers.
        keys: the arena's, [blocks, tokens, kv heads, head size]; the last ``GROUP_TOKENS`` tokens are nobody's.
        values: like ``keys``.
        invariant: whether a session's numbers must not depend on those who run beside it.
    """

    def __init__(
        self,
        blocks: Sequence[DecoderBlock],
        inputs: LayerInputs,
        keys: torch.Tensor,
        values: torch.Tensor,
        *,
        invariant: bool = False,
    ) -> None:
        self._blocks, self._inputs, self._invariant = blocks, inputs, invariant
        self._keys, self._values = keys, values
        self._configs = _configs_of(blocks)

    @torch.inference_mode()
    def run(
        self, hidden_states: torch.Tensor, pieces: Sequence[Piece], blocks: range, adapter: str = ""
    ) -> torch.Tensor:
        """Run the tokens [tokens, hidden] of all pieces through these of the blocks; write their keys and values.

        Args:
            hidden_states: the tokens of the first piece, then those of the second, and so on.
            pieces: whose they are.
            blocks: numbers within the span. The first of them uses the arena's first keys.
            adapter: the LoRA adapter that all pieces run with; empty for none.

        Returns:
            The last block's output, shaped like ``hidden_states``.
        """
        for index in blocks:
            self._blocks[index].adapters.choose(adapter)
        if not self._invariant:
            return self._run(hidden_states, pieces, blocks)
        output = torch.empty_like(hidden_states)
        for group in groups(pieces):
            rows = list(group.rows)
            padded = hidden_states.new_zeros(GROUP_TOKENS, hidden_states.shape[1])
            padded[: len(rows)] = hidden_states[rows]
            nobody = Piece(self._keys.shape[1] - GROUP_TOKENS, 0, GROUP_TOKENS - len(rows))
            everybody = (*group.pieces, nobody) if nobody.tokens else group.pieces
            output[rows] = self._run(padded, everybody, blocks)[: len(rows)]
        return output

    def _run(self, hidden_states: torch.Tensor, pieces: Sequence[Piece], blocks: range) -> torch.Tensor:
        batch = Batch(pieces, hidden_states.dtype, hidden_states.device, copies_keys=not self._invariant)
        hidden = hidden_states[None]
        given = self._inputs.packed(hidden, batch.positions)
        with self._packed_attention():
            for number, index in enumerate(blocks):
                block = self._blocks[index]
                cache = attention.PackedCache(self._keys[number], self._values[number], batch)
                arguments = given[block.index] | {block.anatomy.contract.cache_name: cache, "packed": cache}
                output = block.layer(hidden, **arguments)
                hidden = output[0] if isinstance(output, tuple) else output
        return hidden[0]

    @contextmanager
    def _packed_attention(self) -> Iterator[None]:
        usual = [config._attn_implementation for config in self._configs]
        for config in self._configs:
            config._attn_implementation = attention.NAME
        try:
            yield
        finally:
            for config, name in zip(self._configs, usual, strict=True):
                config._attn_implementation = name


def _configs_of(blocks: Sequence[nn.Module]) -> list[Any]:
    found = {
        id(config): config
        for block in blocks
        for module in block.modules()
        if (config := getattr(module, "config", None)) is not None
    }
    return list(found.values())
