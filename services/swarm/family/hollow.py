"""A model without its weights and layers: its own ``forward`` still prepares what the layers would get."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import Cache


def argument_names(layer_class: type[nn.Module]) -> list[str]:
    """Return what a layer calls its arguments behind the hidden states, in their order."""
    _, _, *names = inspect.signature(layer_class.forward).parameters
    return names


class Recorder(nn.Module):
    """Stands for one decoder layer; keeps what the model passes to it.

    Args:
        layer_class: the layer that it stands for.
        in_tuple: whether the model expects its layers to return a tuple.
    """

    def __init__(self, layer_class: type[nn.Module], in_tuple: bool) -> None:
        super().__init__()
        self._names, self._in_tuple = argument_names(layer_class), in_tuple
        self.recorded: dict[str, Any] = {}

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Return the hidden states as they came, and remember all other arguments by their names."""
        self.recorded = dict(zip(self._names, args, strict=False)) | kwargs if args else kwargs
        return (hidden_states,) if self._in_tuple else hidden_states


class _NoEmbedding(nn.Module):
    """Stands for embeddings, of learned positions for example, which a model adds to its hidden states."""

    def forward(self, indices: torch.Tensor) -> torch.Tensor:
        return torch.zeros((), device=indices.device)


class Hollow:
    """Runs a model's ``forward`` with recorders in the place of its layers.

    Args:
        config: the model's configuration.
        base_class: transformers' class of the model without its head.
        layers_name: name of the list of layers in it.
        layer_classes: the class of each layer.
        in_tuple: whether the model expects its layers to return a tuple.
        dtype: type of the hidden states.
        device: where to compute.
    """

    def __init__(
        self,
        config: PreTrainedConfig,
        base_class: type[PreTrainedModel],
        layers_name: str,
        layer_classes: Sequence[type[nn.Module]],
        in_tuple: bool,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        def __init__(self: PreTrainedModel, config: Any) -> None:
            base_class.__init__(self, config)
            for name, child in list(self.named_children()):
                if name == layers_name:
                    setattr(self, name, nn.ModuleList(Recorder(one, in_tuple) for one in layer_classes))
                elif isinstance(child, nn.Embedding):
                    setattr(self, name, _NoEmbedding())
                elif any(True for _ in child.parameters()):
                    setattr(self, name, nn.Identity())

        hollow_class: type[PreTrainedModel] = type(
            f"Hollow{base_class.__name__}", (base_class,), {"__init__": __init__}
        )
        model = hollow_class.from_pretrained(None, config=config, state_dict={}, dtype=dtype)
        self._model: PreTrainedModel = model.to(device).eval()
        self.in_tuple = in_tuple
        self.recorders: list[Recorder] = list(getattr(self._model, layers_name))

    @torch.no_grad()
    def run(self, hidden_states: torch.Tensor, past: Cache | None, **made: torch.Tensor) -> torch.Tensor:
        """Make the model prepare its layers' inputs; they lie in ``recorders`` afterwards.

        Args:
            hidden_states: [batch, tokens, hidden], in the place of the embeddings.
            past: a cache that says how many tokens lie before these; None for a pass without a cache.
            made: what the model would otherwise make itself, such as ``position_ids``.

        Returns:
            What came out of the last recorder, through whatever has no weights behind it.
        """
        output = self._model(
            inputs_embeds=hidden_states, past_key_values=past, use_cache=past is not None, **made
        )
        hidden: torch.Tensor = output[0]
        return hidden

    def inputs(self) -> list[dict[str, Any]]:
        """Return each layer's arguments beside the hidden states, by name, as of the last run."""
        return [recorder.recorded for recorder in self.recorders]
