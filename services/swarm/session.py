"""How a model of Petals' programming interface (``registry``) reaches its blocks: one module in the place of all
layers, one cache object that stands for the caches on the servers."""

from typing import Any

import torch
from petals.client.inference_session import InferenceSession
from petals.client.remote_sequential import RemoteSequential
from torch import nn
from transformers.cache_utils import Cache


class SessionCache(Cache):
    """What transformers takes for a cache is a session whose keys and values are held by servers.

    Args:
        session: the open session.
    """

    def __init__(self, session: InferenceSession) -> None:
        super().__init__(layers=[])
        self.session = session
        self._rows: torch.Tensor | None = None

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return how many tokens the servers hold."""
        return int(self.session.position)

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        """Return the length and offset of the keys that a query sees; the servers make the real masks."""
        return self.get_seq_length() + query_length, 0

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        """Remember for the next step which row each row continues, as beam search asks."""
        self._rows = beam_idx.to(torch.int64)

    def step(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Run hidden states [batch, tokens, hidden] through the swarm's blocks."""
        rows, self._rows = self._rows, None
        output: torch.Tensor = self.session.step(hidden_states, hypo_ids=rows)
        return output


class SwarmLayers(nn.Module):
    """Stands in a model's list of layers for all of them.

    Args:
        remote: the model's blocks in the swarm.
    """

    def __init__(self, remote: RemoteSequential) -> None:
        super().__init__()
        self.remote = remote

    def forward(self, hidden_states: torch.Tensor, past_key_values: Any = None, **_: Any) -> torch.Tensor:
        """Continue the session in ``past_key_values``, or run whole sequences with gradients if there is none."""
        if isinstance(past_key_values, SessionCache):
            return past_key_values.step(hidden_states)
        output: torch.Tensor = self.remote(hidden_states)
        return output
