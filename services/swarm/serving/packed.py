"""Runs the next tokens of many sessions through blocks in one call.

All tokens lie one behind the other in one row, as if they were one text: norms, linear layers and experts neither
know nor care whose they are. Attention alone does, so the layers' own attention modules are given a function of ours
(transformers' seam for this is ``AttentionInterface``), which looks from each session's tokens at that session's
keys. What an architecture has of its own there it says to that function: scale, window, soft-cap.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import AttentionInterface
from transformers.cache_utils import Cache

from services.swarm.family.block import DecoderBlock
from services.swarm.family.layer_inputs import LayerInputs, NotPackable
from services.swarm.serving.groups import GROUP_TOKENS, groups
from services.swarm.serving.pieces import Batch, Piece

_ATTENTION = "calyx_packed"
_WITHOUT_MEANING = {
    "position_ids",
    "use_cache",
    "cache_position",
    "output_attentions",
    "output_router_logits",
    "is_causal",
    "dropout",
    "packed",
}
"""What layers may say to attention that changes nothing here."""


class _PackedCache(Cache):
    """Writes keys and values of a batch's tokens to their places; attention finds them there."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, batch: Batch) -> None:
        self.keys, self.values, self.batch = keys, values, batch

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.keys.index_copy_(0, self.batch.slots, key_states[0].transpose(0, 1))
        self.values.index_copy_(0, self.batch.slots, value_states[0].transpose(0, 1))
        return key_states, value_states


@dataclass(frozen=True)
class _Rules:
    """What an architecture has of its own in attention.

    Attributes:
        scale: what scores are multiplied by; None for one over the root of the head size.
        window: how many of the last tokens a token sees, itself included; None for all.
        softcap: what scores are bent to stay below; None if they are not.
    """

    scale: float | None
    window: int | None
    softcap: float | None

    @classmethod
    def of(cls, said: dict[str, Any]) -> "_Rules":
        """Read what a layer says to its attention function.

        Raises:
            NotPackable: the architecture says something that is not known here.
        """
        known = {"scaling", "sliding_window", "softcap"} | _WITHOUT_MEANING
        if unknown := [name for name, value in said.items() if value is not None and name not in known]:
            raise NotPackable(f"attention with {', '.join(unknown)} is not run in batches")
        return cls(said.get("scaling"), said.get("sliding_window"), said.get("softcap"))


def _attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **said: Any,
) -> tuple[torch.Tensor, None]:
    """Be transformers' attention function: ``query`` is [1, heads, tokens, head size]; so is the answer, transposed.

    Raises:
        NotPackable: see ``_Rules.of``.
    """
    packed: _PackedCache = said["packed"]
    rules = _Rules.of(said)
    heads, tokens, size = query.shape[1:]
    kv_heads = packed.keys.shape[1]
    # Heads that share keys are queries of one head to them: nothing needs to be repeated
    grouped = query[0].view(kv_heads, heads // kv_heads, tokens, size)
    output = torch.empty(tokens, heads, packed.values.shape[2], dtype=query.dtype, device=query.device)
    done = 0
    for piece in packed.batch.pieces:
        rows = slice(done, done + piece.tokens)
        first = 0 if rules.window is None else max(0, piece.position + 1 - rules.window)
        place = slice(piece.start + first, piece.start + piece.end)
        result = _attend_piece(
            grouped[:, :, rows],
            packed.keys[place].transpose(0, 1),
            packed.values[place].transpose(0, 1),
            packed.batch.mask(piece, first, rules.window) if piece.tokens > 1 else None,
            rules,
        )
        output[rows] = result.flatten(0, 1).transpose(0, 1)
        done += piece.tokens
    return output[None], None


def _attend_piece(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor | None,
    rules: _Rules,
) -> torch.Tensor:
    """Attend from [kv heads, group, tokens, size] to [kv heads, length, size], with a mask [tokens, length]."""
    kv_heads, group, tokens, size = query.shape
    flat = query.reshape(1, kv_heads, group * tokens, size)
    whole = None if mask is None else mask.repeat(group, 1)
    if rules.softcap is None:
        attended = functional.scaled_dot_product_attention(
            flat, keys[None], values[None], attn_mask=whole, scale=rules.scale
        )
    else:
        scale = size**-0.5 if rules.scale is None else rules.scale
        scores = rules.softcap * torch.tanh(flat @ keys[None].transpose(-1, -2) * scale / rules.softcap)
        if whole is not None:
            scores = scores + whole
        attended = scores.softmax(-1, dtype=torch.float32).to(flat.dtype) @ values[None]
    return attended[0].view(kv_heads, group, tokens, -1)


AttentionInterface.register(_ATTENTION, _attend)


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
        batch = Batch(pieces, hidden_states.dtype, hidden_states.device)
        hidden = hidden_states[None]
        given = self._inputs.packed(hidden, batch.positions)
        with self._packed_attention():
            for number, index in enumerate(blocks):
                block = self._blocks[index]
                cache = _PackedCache(self._keys[number], self._values[number], batch)
                arguments = given[block.index] | {block.anatomy.contract.cache_name: cache, "packed": cache}
                output = block.layer(hidden, **arguments)
                hidden = output[0] if isinstance(output, tuple) else output
        return hidden[0]

    @contextmanager
    def _packed_attention(self) -> Iterator[None]:
        usual = [config._attn_implementation for config in self._configs]
        for config in self._configs:
            config._attn_implementation = _ATTENTION
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
