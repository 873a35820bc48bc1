"""The attention cache of one layer in memory that outlives the step, in the form that transformers' layers expect."""

import torch
from transformers.cache_utils import Cache, CacheLayerMixin


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
