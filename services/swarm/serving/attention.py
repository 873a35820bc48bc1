"""How tokens of many sessions look at their own keys: transformers' attention function for batches.

What an architecture has of its own in attention (scale, window, soft-cap) it says to that function.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import AttentionInterface
from transformers.cache_utils import Cache

from services.swarm.family.layer_inputs import NotPackable
from services.swarm.serving.pieces import Batch

NAME = "calyx_packed"
"""Under which transformers knows the function."""
_GATHERED_BYTES = 128 * 1024
"""Up to so many bytes of a text's keys and values, copying them costs less than a call for them alone."""
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


class PackedCache(Cache):
    """Writes keys and values of a batch's tokens to their places; attention finds them there."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, batch: Batch) -> None:
        self.keys, self.values, self.batch = keys, values, batch

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the keys and values of one layer; called by the layer."""
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
    packed: PackedCache = said["packed"]
    rules = _Rules.of(said)
    heads, tokens, size = query.shape[1:]
    kv_heads, value_size = packed.values.shape[1:]
    # Heads that share keys are queries of one head to them: nothing needs to be repeated
    grouped = query[0].view(kv_heads, heads // kv_heads, tokens, size)
    output = torch.empty(tokens, heads, value_size, dtype=query.dtype, device=query.device)
    longest = _GATHERED_BYTES // (kv_heads * (size + value_size) * packed.keys.itemsize)
    short, others = packed.batch.short_and_others(longest, rules.window)
    if short is not None:
        mine = query[0].transpose(0, 1).index_select(0, short.rows).unflatten(1, (kv_heads, -1))
        result = _scores_times_values(
            mine, short.copy_of(packed.keys), short.copy_of(packed.values), short.mask, rules
        )
        output.index_copy_(0, short.rows, result.flatten(1, 2))
    for place, piece in others:
        rows = slice(place, place + piece.tokens)
        first = piece.first_key(rules.window)
        keys = slice(piece.start + first, piece.start + piece.end)
        mask = packed.batch.mask(piece, rules.window) if piece.tokens > 1 else None
        group = grouped.shape[1]
        result = _scores_times_values(
            grouped[None, :, :, rows].flatten(2, 3),
            packed.keys[None, keys].transpose(1, 2),
            packed.values[None, keys].transpose(1, 2),
            None if mask is None else mask.repeat(group, 1),
            rules,
        )
        output[rows] = result[0].view(heads, piece.tokens, value_size).transpose(0, 1)
    return output[None], None


def _scores_times_values(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor | None,
    rules: _Rules,
) -> torch.Tensor:
    """Attend from [texts, kv heads, queries, size] to [texts, kv heads, length, size], with a mask that is added."""
    if rules.softcap is None:
        return functional.scaled_dot_product_attention(query, keys, values, attn_mask=mask, scale=rules.scale)
    scale = query.shape[-1] ** -0.5 if rules.scale is None else rules.scale
    scores = rules.softcap * torch.tanh(query @ keys.transpose(-1, -2) * scale / rules.softcap)
    if mask is not None:
        scores = scores + mask
    return scores.softmax(-1, dtype=torch.float32).to(query.dtype) @ values


AttentionInterface.register(NAME, _attend)
