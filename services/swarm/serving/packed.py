"""Runs the next tokens of many sessions through blocks in one call.

All tokens lie one behind the other in one row, as if they were one text: norms, linear layers and experts neither
know nor care whose they are. Attention alone does, so the layers' own attention modules are given a function of ours
(transformers' seam for this is ``AttentionInterface``), which looks from each session's tokens at that session's
keys. What an architecture has of its own there it says to that function: scale, window, soft-cap. Layers of the
commonest kind run as ``fused.py`` has them, on a CPU and without an adapter.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from services.swarm import kernels
from services.swarm.family.block import DecoderBlock
from services.swarm.family.examination import NONSENSE
from services.swarm.family.layer_inputs import LayerInputs, NotPackable
from services.swarm.family.position_table import Arguments
from services.swarm.family.prepacked import rows_computed
from services.swarm.serving import attention
from services.swarm.serving.decode_graphs import DecodeGraphs, Record
from services.swarm.serving.fused import FusedLayer, NotFusable
from services.swarm.serving.groups import GROUP_TOKENS, groups
from services.swarm.serving.nearness import near
from services.swarm.serving.pieces import Batch, Piece

_FAR = 1_000_000
"""Tokens; more than any model's positions."""
_ROOM = 12
"""Tokens of a text that a layer is tried with."""
_CPU = torch.device("cpu")


class PackedSpan:
    """Consecutive blocks, as they run batches of many sessions.

    Args:
        blocks: the blocks.
        inputs: what the model hands to their layers.
        keys: the arena's, [blocks, tokens, kv heads, head size]; the last ``GROUP_TOKENS`` tokens are nobody's.
        values: like ``keys``.
        invariant: whether a session's numbers must not depend on those who run beside it.
        record: how ticks of single tokens through all blocks are recorded to be replayed; None if they are not.
    """

    def __init__(
        self,
        blocks: Sequence[DecoderBlock],
        inputs: LayerInputs,
        keys: torch.Tensor,
        values: torch.Tensor,
        *,
        invariant: bool = False,
        record: Record | None = None,
    ) -> None:
        self._blocks, self._inputs, self._invariant = blocks, inputs, invariant
        self._keys, self._values = keys, values
        self._configs = _configs_of(blocks)
        self._fused = (
            [self._fuse(block) for block in blocks] if kernels.compute(keys) else [None] * len(blocks)
        )
        tick = partial(self._run, blocks=range(len(blocks)))
        self._graphs = None if record is None else DecodeGraphs(tick, inputs, keys, values, record)

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
        if self._graphs is not None and not adapter and len(blocks) == len(self._blocks):
            recorded = self._graphs.run(hidden_states, pieces)
            if recorded is not None:
                return recorded
        if not self._invariant:
            tokens = len(hidden_states)
            rows = rows_computed(tokens) if any(self._fused) else tokens
            return self._run_filled_up(hidden_states, pieces, blocks, adapter, rows)
        output = torch.empty_like(hidden_states)
        for group in groups(pieces):
            own = list(group.rows)
            output[own] = self._run_filled_up(hidden_states[own], group.pieces, blocks, adapter, GROUP_TOKENS)
        return output

    def _run_filled_up(
        self, hidden_states: torch.Tensor, pieces: Sequence[Piece], blocks: range, adapter: str, rows: int
    ) -> torch.Tensor:
        """Run so many rows, of which the last are nobody's; return those that are somebody's."""
        tokens = len(hidden_states)
        nobody = Piece(self._keys.shape[1] - GROUP_TOKENS, 0, 1)
        batch = Batch(
            [*pieces, *[nobody] * (rows - tokens)],
            hidden_states.dtype,
            hidden_states.device,
            copies_keys=not self._invariant,
        )
        filled = functional.pad(hidden_states, (0, 0, 0, rows - tokens))
        given = self._inputs.packed(batch.positions, batch.end)
        return self._run(filled, batch, given, blocks, adapter)[:tokens]

    def _run(
        self, hidden: torch.Tensor, batch: Batch, given: Arguments, blocks: range, adapter: str = ""
    ) -> torch.Tensor:
        dtype = hidden.dtype
        for number, index in enumerate(blocks):
            block, fused = self._blocks[index], None if adapter else self._fused[index]
            cache = attention.PackedCache(self._keys[number], self._values[number], batch)
            if fused is not None:
                hidden = fused.run(hidden, given[block.index], cache)
            else:
                hidden = self._run_as_it_is(block, hidden.to(dtype), given[block.index], cache)
        return hidden.to(dtype)

    def _run_as_it_is(
        self, block: DecoderBlock, hidden: torch.Tensor, given: dict[str, Any], cache: attention.PackedCache
    ) -> torch.Tensor:
        arguments = given | {block.anatomy.contract.cache_name: cache, "packed": cache}
        with self._packed_attention():
            output = block.layer(hidden[None], **arguments)
        result: torch.Tensor = output[0] if isinstance(output, tuple) else output
        return result[0]

    @torch.inference_mode()
    def _fuse(self, block: DecoderBlock) -> FusedLayer | None:
        """Return the layer as a fused one, if that computes the same of short pieces and of long ones."""
        fused: FusedLayer | None = None
        for tokens in (3, attention.FEW_TOKENS + 1):
            batch = Batch([Piece(0, _ROOM - tokens, tokens), Piece(_ROOM, 7, 1)], self._keys.dtype, _CPU)
            numbers = torch.Generator().manual_seed(0)
            keys, values, hidden = (
                torch.randn(size, generator=numbers).to(self._keys.dtype)
                for size in (
                    (2 * _ROOM, *self._keys.shape[2:]),
                    (2 * _ROOM, *self._values.shape[2:]),
                    (tokens + 1, block.config.hidden_size),
                )
            )
            cache, other = (attention.PackedCache(keys.clone(), values.clone(), batch) for _ in range(2))
            try:
                given = self._inputs.packed(batch.positions, batch.end)[block.index]
                expected = self._run_as_it_is(block, hidden, _far_away(given), cache)
                if cache.rules is None:
                    return None
                fused = fused or FusedLayer(block.layer, cache.rules)
                result = fused.run(hidden, given, other)
            except (NotFusable, NotPackable, *NONSENSE):
                return None
            pairs = (result, expected), (other.keys, cache.keys), (other.values, cache.values)
            if not all(near(one, another) for one, another in pairs):
                return None
        return fused

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


def _far_away(given: dict[str, Any]) -> dict[str, Any]:
    """Return a layer's arguments with other positions, but for the embeddings of these.

    A layer that looks at them comes to other results then; near the beginning it might not.
    """
    whole = {
        name: one
        for name, one in given.items()
        if isinstance(one, torch.Tensor) and not one.is_floating_point()
    }
    return given | {name: one + _FAR for name, one in whole.items()}


def _configs_of(blocks: Sequence[nn.Module]) -> list[Any]:
    found = {
        id(config): config
        for block in blocks
        for module in block.modules()
        if (config := getattr(module, "config", None)) is not None
    }
    return list(found.values())
