"""Finds out, before anyone is served, whether blocks compute in batches what they compute alone."""

from collections.abc import Sequence

import torch

from services.swarm.family.block import DecoderBlock
from services.swarm.family.examination import NONSENSE
from services.swarm.family.layer_inputs import LayerInputs, NotPackable
from services.swarm.serving.groups import GROUP_TOKENS
from services.swarm.serving.nearness import near
from services.swarm.serving.packed import PackedSpan
from services.swarm.serving.pieces import Piece

_TOKENS = 3
_BEYOND = 8
"""So many tokens more than a window holds are in the past, so that the window matters."""


def differs_in_batches(
    blocks: Sequence[DecoderBlock],
    inputs: LayerInputs,
    dtype: torch.dtype,
    device: torch.device,
    *,
    invariant: bool = False,
    rounded: bool = False,
) -> str | None:
    """Return why these blocks cannot run in batches, or None if they can.

    Each runs a few random tokens after a random past, alone and beside another session, with each of its adapters and
    without any.

    Args:
        blocks: the blocks of a span.
        inputs: what the model hands to their layers.
        dtype: type of the hidden states.
        device: where they run.
        invariant: whether the last bit of a batch's results must be the same with another session and without it.
        rounded: whether the blocks round what goes into their linear layers to 8 bits.
    """
    position = _far_position(blocks[0].config)
    numbers = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=numbers).to(device, dtype)

    size = (2 * (position + _TOKENS) + GROUP_TOKENS, blocks[0].num_kv_heads, blocks[0].head_size)
    keys, values = random(1, *size), random(1, *size)
    hidden, neighbour = random(_TOKENS, blocks[0].config.hidden_size), random(1, blocks[0].config.hidden_size)
    rows = [tensor[0, : position + _TOKENS].transpose(0, 1)[None] for tensor in (keys, values)]
    pieces = [Piece(position + _TOKENS, _BEYOND, 1), Piece(0, position, _TOKENS)]
    span = PackedSpan(blocks, inputs, keys, values, invariant=invariant)
    kinds = [
        (number, block, adapter) for number, block in enumerate(blocks) for adapter in block.adapters.names
    ]
    for number, block, adapter in kinds:
        if (block.num_kv_heads, block.head_size) != size[1:]:
            return f"block {block.index} has keys of another shape than block {blocks[0].index}"
        one = range(number, number + 1)
        block.adapters.choose(adapter)
        try:
            with torch.inference_mode():
                alone = block.step(hidden[None], rows[0], rows[1], position)[0]
                beside = span.run(torch.cat([neighbour, hidden]), pieces, one, adapter)[1:]
                only = span.run(hidden, pieces[1:], one, adapter) if invariant else beside
        except NotPackable as reason:
            return f"block {block.index}: {reason}"
        except NONSENSE as error:
            return f"block {block.index}: {error!r}"
        if not only.equal(beside):
            return f"block {block.index}: its numbers depend on who runs beside a session"
        if not near(beside, alone, rounded=rounded):
            return f"block {block.index} computes something else beside other sessions"
    return None


def _far_position(config: object) -> int:
    window = max(getattr(config, name, None) or 0 for name in ("sliding_window", "attention_chunk_size"))
    longest = getattr(config, "max_position_embeddings", None) or window + _BEYOND + _TOKENS
    return int(min(window + _BEYOND, longest - _TOKENS))
