"""One decoder layer as a server runs it, for any architecture."""

import torch
from torch import nn
from transformers import PreTrainedConfig
from transformers.cache_utils import Cache, CacheLayerMixin

from services.swarm.family.anatomy import Anatomy
from services.swarm.family.layer_inputs import LayerInputs


def _cache_heads(config: PreTrainedConfig) -> tuple[int, int]:
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return heads, size


def cache_bytes_per_token(config: PreTrainedConfig, dtype: torch.dtype) -> int:
    """Return how many bytes of attention cache one token takes in one block."""
    heads, size = _cache_heads(config)
    return 2 * heads * size * dtype.itemsize


class _ArenaLayer(CacheLayerMixin):
    """Answers transformers' questions about a cache whose memory is ours.

    Windows of sliding attention are left to the mask: nothing is evicted, so a session may be rolled back.
    """

    is_sliding = False
    is_compileable = False
    supports_early_init = False

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, position: int) -> None:
        super().__init__()
        self.arena_keys, self.arena_values = keys, values
        self.position = position
        self.is_initialized = True

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Memory is there from the start."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write [batch, kv heads, tokens, head size] behind the position; return views of all up to there."""
        end = self.position + key_states.shape[2]
        self.arena_keys[:, :, self.position : end] = key_states
        self.arena_values[:, :, self.position : end] = value_states
        return self.arena_keys[:, :, :end], self.arena_values[:, :, :end]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the length of keys that a query sees at most, and the offset of the first."""
        return self.position + query_length, 0

    def get_seq_length(self) -> int:
        """Return how many tokens lie before the ones of this step."""
        return self.position

    def get_max_length(self) -> int:
        """Return how many tokens the arena can hold."""
        return self.arena_keys.shape[2]


class ArenaCache(Cache):
    """A layer's cache in memory that outlives the step: keys and values are written in place, never copied whole.

    Args:
        keys: [batch, kv heads, max length, head size], written to.
        values: like ``keys``.
        position: how many tokens the session holds already.
    """

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, position: int) -> None:
        self._layer = _ArenaLayer(keys, values, position)
        super().__init__(layers=[self._layer])

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store the new keys and values; ``layer_idx`` is the layer's number in the model and means nothing here."""
        return self._layer.update(key_states, value_states)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return how many tokens lie before the ones of this step."""
        return self._layer.position

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        """Return the length and offset of the keys, the same for every layer."""
        return self._layer.get_mask_sizes(query_length)


class DecoderBlock(nn.Module):
    """A decoder layer that computes its own masks and positions from how far a session is.

    Args:
        anatomy: the model's parts.
        index: the layer's number in the model.
        layer: the layer itself, with its weights.
        inputs: shared by all blocks of a server, so that a step computes masks and positions once.
    """

    def __init__(self, anatomy: Anatomy, index: int, layer: nn.Module, inputs: LayerInputs) -> None:
        super().__init__()
        self.index = index
        self.layer = layer
        self._inputs = inputs
        self.config = anatomy.config
        self.num_kv_heads, self.head_size = _cache_heads(anatomy.config)

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
