"""One decoder layer as a server runs it, for any architecture."""

import torch
from torch import nn
from transformers.cache_utils import Cache

from services.swarm.family.adapted import Adapted
from services.swarm.family.anatomy import Anatomy
from services.swarm.family.arena import ArenaCache
from services.swarm.family.layer_inputs import LayerInputs


def cache_bytes_per_token(anatomy: Anatomy, dtype: torch.dtype) -> int:
    """Return how many bytes of attention cache one token takes in one block."""
    return 2 * anatomy.contract.heads * anatomy.contract.head_size * dtype.itemsize


class DecoderBlock(nn.Module):
    """A decoder layer that computes its own masks and positions from how far a session is.

    Args:
        anatomy: the model's parts.
        index: the layer's number in the model.
        layer: the layer itself, with its weights, quantized if it is to be.
        inputs: shared by all blocks of a server, so that a step computes masks and positions once.
    """

    def __init__(self, anatomy: Anatomy, index: int, layer: nn.Module, inputs: LayerInputs) -> None:
        super().__init__()
        self.index = index
        self.layer = layer
        self._inputs = inputs
        self.adapters = Adapted(anatomy, index, layer)
        self.anatomy = anatomy
        self.config = anatomy.config
        self.num_kv_heads, self.head_size = anatomy.contract.heads, anatomy.contract.head_size

    def forward(self, hidden_states: torch.Tensor) -> tuple[torch.Tensor]:
        """Run whole sequences [batch, tokens, hidden] without a cache, as training does."""
        return (self._run(hidden_states, 0, None),)

    def step(
        self, hidden_states: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, position: int
    ) -> torch.Tensor:
        """Run the next tokens of a session.

        Args:
            hidden_states: [batch, tokens, hidden].
            keys: [batch, kv heads, max length, head size]; the first ``position`` tokens are read, the new
                tokens are written behind them.
            values: like ``keys``.
            position: how many tokens the session holds already.

        Returns:
            The layer's output, shaped like ``hidden_states``.
        """
        return self._run(hidden_states, position, ArenaCache(keys, values, position))

    def _run(self, hidden_states: torch.Tensor, position: int, past: Cache | None) -> torch.Tensor:
        output = self.layer(hidden_states, **self._inputs.of(self.index, hidden_states, position, past))
        hidden: torch.Tensor = output[0] if isinstance(output, tuple) else output
        return hidden
