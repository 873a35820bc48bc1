"""What a model would hand to each of its layers in one step: masks, positions, rotary embeddings.

Every architecture of transformers computes these in its own ``forward``. Instead of imitating each, we let that
``forward`` run with recorders in the place of the layers, once per step for all blocks together.
"""

from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from services.swarm.family.anatomy import Anatomy


class _Recorder(nn.Module):
    """Stands for one decoder layer; keeps the keyword arguments that the model passes to it."""

    recorded: dict[str, Any]

    def forward(self, hidden_states: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        self.recorded = kwargs
        return hidden_states


def _hollow_class(anatomy: Anatomy) -> type[PreTrainedModel]:
    def __init__(self: PreTrainedModel, config: Any) -> None:
        anatomy.base_class.__init__(self, config)
        for name, child in list(self.named_children()):
            if name == anatomy.layers_name:
                setattr(self, name, nn.ModuleList(_Recorder() for _ in child))
            elif any(True for _ in child.parameters()):
                setattr(self, name, nn.Identity())

    return type(f"Hollow{anatomy.base_class.__name__}", (anatomy.base_class,), {"__init__": __init__})


class LayerInputs:
    """Computes and remembers the inputs of all layers for the step that runs now.

    Args:
        anatomy: the model's parts.
        dtype: type of the hidden states.
        device: where the blocks run.
    """

    def __init__(self, anatomy: Anatomy, dtype: torch.dtype, device: torch.device) -> None:
        hollow = _hollow_class(anatomy).from_pretrained(
            None, config=anatomy.config, state_dict={}, dtype=dtype
        )
        self._hollow = hollow.to(device).eval()
        self._recorders: nn.ModuleList = getattr(self._hollow, anatomy.layers_name)
        self._step: tuple[int, torch.Size, bool] | None = None
        self._inputs: list[dict[str, Any]] = []

    def of(
        self, block: int, hidden_states: torch.Tensor, position: int, past: Cache | None
    ) -> dict[str, Any]:
        """Return the keyword arguments for one layer.

        Args:
            block: the layer's number.
            hidden_states: [batch, tokens, hidden]; only its shape, type and device matter.
            position: how many tokens the session has processed before these.
            past: the layer's cache, which goes into the arguments; None for a pass without a cache.
        """
        step = (position, hidden_states.shape, past is None)
        if step != self._step:
            with torch.no_grad():
                self._hollow(inputs_embeds=hidden_states, past_key_values=past, use_cache=past is not None)
            self._inputs = [cast(_Recorder, recorder).recorded for recorder in self._recorders]
            self._step = step
        return self._inputs[block] | {"past_key_values": past}

    def packed(self, hidden_states: torch.Tensor, positions: torch.Tensor) -> list[dict[str, Any]]:
        """Return the keyword arguments for all layers when tokens of several texts lie in one row.

        Args:
            hidden_states: [1, tokens, hidden].
            positions: each token's place in its own text, [1, tokens].
        """
        # A mask of four dimensions is passed on as it is, so that none is made; whoever attends knows whose tokens
        # these are
        no_mask = torch.empty(1, 1, 1, 1, dtype=hidden_states.dtype, device=hidden_states.device)
        with torch.no_grad():
            self._hollow(
                inputs_embeds=hidden_states, position_ids=positions, attention_mask=no_mask, use_cache=False
            )
        self._step = None
        return [cast(_Recorder, recorder).recorded for recorder in self._recorders]
