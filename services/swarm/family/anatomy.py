"""Finds the parts of a decoder by the shape that all decoders of transformers share.

A causal language model holds a base model (``model.base_model``), which holds embeddings, a list with one decoder
layer per hidden layer, rotary embeddings and a final norm; the head lies beside the base model.
"""

import re
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from services.common.errors import InvalidInput


@dataclass(frozen=True)
class Anatomy:
    """Where the parts of one architecture are.

    Attributes:
        config: the model's configuration, shared by all its parts.
        causal_lm_class: transformers' class of the whole model with its head.
        base_class: transformers' class of the model without its head.
        layers_name: name of the list of decoder layers in the base model.
        layer_classes: the class of each decoder layer; constructed as ``layer_class(config, layer_index)``.
    """

    config: PreTrainedConfig
    causal_lm_class: type[PreTrainedModel]
    base_class: type[PreTrainedModel]
    layers_name: str
    layer_classes: tuple[type[nn.Module], ...]

    @classmethod
    def of(cls, config: PreTrainedConfig) -> "Anatomy":
        """Lay the model out without memory for its weights and look where its parts are.

        Raises:
            InvalidInput: the model does not have the shape that this module's docstring describes.
        """
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
        base = model.base_model
        depth = config.num_hidden_layers
        lists = [
            name
            for name, child in base.named_children()
            if isinstance(child, nn.ModuleList) and len(child) == depth
        ]
        if len(lists) != 1 or base.get_input_embeddings() is None:
            raise InvalidInput(
                f"architecture {config.model_type!r} is not a plain decoder: expected one list of {depth} layers",
                "serve another model",
            )
        layers = getattr(base, lists[0])
        return cls(config, type(model), type(base), lists[0], tuple(type(layer) for layer in layers))

    @property
    def num_blocks(self) -> int:
        """Return how many decoder layers the model has."""
        return len(self.layer_classes)

    @cached_property
    def _layer_key(self) -> re.Pattern[str]:
        return re.compile(rf"(?:^|\.){re.escape(self.layers_name)}\.(\d+)\.")

    def block_of(self, weight_name: str) -> int | None:
        """Return the number of the block that a checkpoint's weight belongs to, or None for the ends."""
        match = self._layer_key.search(weight_name)
        return int(match.group(1)) if match else None
