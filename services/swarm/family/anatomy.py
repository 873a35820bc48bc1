"""Finds the parts of a decoder by the shape that all decoders of transformers share.

A causal language model holds a base model (``model.base_model``), which holds embeddings, a list with one decoder
layer per hidden layer, rotary embeddings and a final norm; the head lies beside the base model.
"""

import re
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
)

from services.common.errors import InvalidInput
from services.swarm.family.examination import LayerContract, NotCuttable, examine

_LENGTH_NAMES = ("max_position_embeddings", "max_sequence_length", "max_seq_len", "seq_length", "n_positions")
_SENSES = ("vision", "image", "video", "audio", "speech")
_UNNAMED_LENGTH = 2048
"""BLOOM's training length; its linear biases work at any length, and many of its configurations name none."""


@dataclass(frozen=True)
class Anatomy:
    """Where the parts of one architecture are, and how they work together.

    Attributes:
        config: the model's configuration, shared by all its parts.
        causal_lm_class: transformers' class of the whole model with its head.
        base_class: transformers' class of the model without its head.
        layers_name: name of the list of decoder layers in the base model.
        layer_classes: the class of each decoder layer; constructed as ``layer_class(config, layer_index)``.
        contract: what the base model and its layers expect of each other.
    """

    config: PreTrainedConfig
    causal_lm_class: type[PreTrainedModel]
    base_class: type[PreTrainedModel]
    layers_name: str
    layer_classes: tuple[type[nn.Module], ...]
    contract: LayerContract

    @classmethod
    def of(cls, config: PreTrainedConfig) -> "Anatomy":
        """Lay the model out without memory for its weights, and look where its parts are and what they exchange.

        Raises:
            InvalidInput: the model cannot be cut into blocks that keep nothing but their own keys and values and
                pass nothing on but hidden states; the message says why.
        """
        try:
            return cls.cut(config)
        except NotCuttable as reason:
            raise InvalidInput(
                f"a model of architecture {config.model_type!r} cannot be cut into blocks: {reason}",
                "serve another model",
            ) from reason

    @classmethod
    def cut(cls, config: PreTrainedConfig) -> "Anatomy":
        """Do what ``of`` does; NotCuttable with the bare reason if it cannot be done."""
        _require_decoder_of_text(config)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
        base = model.base_model
        depth = getattr(config, "num_hidden_layers", None)
        lists = [
            name
            for name, child in base.named_children()
            if isinstance(child, nn.ModuleList) and len(child) == depth
        ]
        if len(lists) != 1 or base is model or base.get_input_embeddings() is None:
            raise NotCuttable(f"it has not one list of {depth} layers between embeddings and head")
        layers = list(getattr(base, lists[0]))
        contract = examine(base.config, type(base), lists[0], layers)
        return cls(config, type(model), type(base), lists[0], tuple(map(type, layers)), contract)

    @property
    def num_blocks(self) -> int:
        """Return how many decoder layers the model has."""
        return len(self.layer_classes)

    @cached_property
    def max_length(self) -> int:
        """Return the most tokens that a text may have, for the model to treat it as it was trained."""
        named = (getattr(self.config, name, None) for name in _LENGTH_NAMES)
        length: int = next((length for length in named if length), _UNNAMED_LENGTH)
        return length if self.exact_length is None else min(length, self.exact_length)

    @cached_property
    def exact_length(self) -> int | None:
        """Return from which length of a text on every position changes with each further token; None for never.

        Rotary embeddings of these types are made for the whole text at once, so that keys which lie in a cache
        already would have to be made anew.
        """
        rope = getattr(self.config, "rope_parameters", None) or {}
        kinds = [rope] if "rope_type" in rope else [kind for kind in rope.values() if isinstance(kind, dict)]
        lengths = [
            kind.get("original_max_position_embeddings") or self.config.max_position_embeddings
            for kind in kinds
            if kind.get("rope_type") in ("dynamic", "longrope")
        ]
        return min(lengths, default=None)

    @cached_property
    def _layer_key(self) -> re.Pattern[str]:
        return re.compile(rf"(?:^|\.){re.escape(self.layers_name)}\.(\d+)\.")

    def block_of(self, weight_name: str) -> int | None:
        """Return the number of the block that a checkpoint's weight belongs to, or None for the ends."""
        match = self._layer_key.search(weight_name)
        return int(match.group(1)) if match else None


def _require_decoder_of_text(config: PreTrainedConfig) -> None:
    if config.is_encoder_decoder:
        raise NotCuttable("it has an encoder beside its decoder")
    if senses := sorted(name for name in config.sub_configs if name.startswith(_SENSES)):
        raise NotCuttable(f"it takes more than text ({', '.join(senses)})")
    if getattr(config, "num_kv_shared_layers", 0):
        raise NotCuttable("its upper layers use keys and values of lower ones")
    if quantized := getattr(config, "quantization_config", None):
        method = quantized.get("quant_method") if isinstance(quantized, dict) else quantized.quant_method
        raise NotCuttable(f"its weights are quantized ({method})")
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise NotCuttable("it does not continue texts")
