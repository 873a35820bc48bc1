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

from services.swarm import kernels
from services.swarm.family.layer_inputs import NotPackable
from services.swarm.serving.pieces import Batch, Others

NAME = "calyx_packed"
"""Under which transformers knows the function."""
_COPIED_BYTES = {"cpu": 128 * 1024, "cuda": 8 * 1024**2}
"""Up to so many bytes of a text's keys and values, copying them costs less than a call for them alone.

On a CPU this was measured. On a GPU it is reckoned: a call is a dozen kernels, which Python starts in about 0.1 ms,
and within that a GPU copies several times as much.
"""
FEW_TOKENS = 8
"""Pieces of so many tokens at most are attended by an operator of ours, where there is one."""
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


@dataclass(frozen=True)
class Rules:
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
    def of(cls, said: dict[str, Any]) -> "Rules":
        """Read what a layer says to its attention function.

        Raises:
            NotPackable: the architecture says something that is not known here.
        """
        known = {"scaling", "sliding_window", "softcap"} | _WITHOUT_MEANING
        if unknown := [name for name, value in said.items() if value is not None and name not in known]:
            raise NotPackable(f"attention with {', '.join(unknown)} is not run in batches")
        return cls(said.get("scaling"), said.get("sliding_window"), said.get("softcap"))

    def scale_for(self, size: int) -> float:
        """Return the scale for heads of this size."""
        return size**-0.5 if self.scale is None else self.scale


class PackedCache(Cache):
    """Writes keys and values of a batch's tokens to their places; attention finds them there.

    Args:
        keys: those of one block in the arena, [tokens, kv heads, head size].
        values: like ``keys``.
        batch: whose the tokens are.
    """

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, batch: Batch) -> None:
        self.keys, self.values, self.batch = keys, values, batch
        self.rules: Rules | None = None
        """What the layer has said to its attention, once it ran."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the keys and values of one layer; called by the layer."""
        self.keys.index_copy_(0, self.batch.slots, key_states[0].transpose(0, 1))
        self.values.index_copy_(0, self.batch.slots, value_states[0].transpose(0, 1))
        return key_states, value_states


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
        NotPackable: see ``Rules.of``.
    """
    packed: PackedCache = said["packed"]
    packed.rules = Rules.of(said)
    return attend(query[0].transpose(0, 1), packed, packed.rules)[None], None


def attend(query: torch.Tensor, cache: PackedCache, rules: Rules) -> torch.Tensor:
    """Let each token look at the keys of its own text.

    Args:
        query: [tokens, heads, head size].
        cache: where the keys and values are, those of these tokens included.
        rules: the architecture's.

    Returns:
        [tokens, heads, size of a value].
    """
    if kernels.compute(query):
        seen = cache.batch.seen(rules.window, FEW_TOKENS)
        output: torch.Tensor = kernels.OPERATORS.attend(
            query,
            cache.keys,
            cache.values,
            seen.starts,
            seen.lengths,
            rules.scale_for(query.shape[2]),
            rules.softcap or 0.0,
        )
        _attend_apart(query, cache, rules, seen.others, output)
        return output
    kv_heads, value_size = cache.values.shape[1:]
    output = query.new_empty(*query.shape[:2], value_size)
    short, others = cache.batch.short_and_others(longest_copied(cache.keys, cache.values), rules.window)
    if short is not None:
        mine = query.index_select(0, short.rows).unflatten(1, (kv_heads, -1))
        result = _scores_times_values(
            mine, short.copy_of(cache.keys), short.copy_of(cache.values), short.mask, rules
        )
        output.index_copy_(0, short.rows, result.flatten(1, 2))
    _attend_apart(query, cache, rules, others, output)
    return output


def longest_copied(keys: torch.Tensor, values: torch.Tensor) -> int:
    """Return of how many tokens a text's keys and values, both [tokens, kv heads, head size], are copied at most."""
    token_bytes = keys[0].nbytes + values[0].nbytes
    return _COPIED_BYTES[keys.device.type] // token_bytes


def _attend_apart(
    query: torch.Tensor, cache: PackedCache, rules: Rules, pieces: Others, output: torch.Tensor
) -> None:
    """Write what these pieces see to their places in the output, a call for each."""
    heads, kv_heads = query.shape[1], cache.keys.shape[1]
    group = heads // kv_heads
    for place, piece in pieces:
        rows = slice(place, place + piece.tokens)
        first = piece.first_key(rules.window)
        keys = slice(piece.start + first, piece.start + piece.end)
        mask = cache.batch.mask(piece, rules.window, group) if piece.tokens > 1 else None
        # Heads that share keys are queries of one head to them: nothing needs to be repeated
        grouped = query[rows].unflatten(1, (kv_heads, group)).permute(1, 2, 0, 3).flatten(1, 2)
        result = _scores_times_values(
            grouped[None],
            cache.keys[None, keys].transpose(1, 2),
            cache.values[None, keys].transpose(1, 2),
            mask,
            rules,
        )
        output[rows] = result[0].view(heads, piece.tokens, -1).transpose(0, 1)


def _scores_times_values(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor | None,
    rules: Rules,
) -> torch.Tensor:
    """Attend from [texts, kv heads, queries, size] to [texts, kv heads, length, size], with a mask that is added."""
    if rules.softcap is None:
        return functional.scaled_dot_product_attention(query, keys, values, attn_mask=mask, scale=rules.scale)
    scores = query @ keys.transpose(-1, -2) * rules.scale_for(query.shape[-1])
    scores = rules.softcap * torch.tanh(scores / rules.softcap)
    if mask is not None:
        scores = scores + mask
    return scores.softmax(-1, dtype=torch.float32).to(query.dtype) @ values


AttentionInterface.register(NAME, _attend)
