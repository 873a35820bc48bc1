"""LoRA adapters on a block's linear layers, by peft: injected when the block is loaded, chosen before it runs."""

import warnings
from collections.abc import Collection, Mapping
from copy import deepcopy
from typing import Any

import torch
from bitsandbytes.nn.modules import Linear4bit, Linear8bitLt
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import set_peft_model_state_dict
from torch import nn

from services.common.errors import InvalidInput
from services.swarm.family.anatomy import Anatomy

_PREFIX = "base_model.model."
"""How peft names the model in an adapter's file."""


def module_of(tensor: str) -> str:
    """Return the name of the model's module that a tensor of an adapter belongs to."""
    module = tensor.removeprefix(_PREFIX).split(".lora_")[0]
    return module.removesuffix(".weight").removesuffix(".base_layer")


class Adapted:
    """A block's adapters, of which one or none is in force. Used by the thread that computes, alone.

    Args:
        anatomy: the model's parts.
        index: the block's number in the model.
        layer: the block's layer, in its final form: quantized, if it is to be.
    """

    def __init__(self, anatomy: Anatomy, index: int, layer: nn.Module) -> None:
        self._layer, self._what = layer, f"block {index}"
        self._whole = _in_its_place(anatomy, index, layer)
        self._keys: dict[str, list[str]] = {"": []}
        self._chosen = ""
        self._changed: list[BaseTunerLayer] = []

    @property
    def names(self) -> list[str]:
        """The adapters that may be chosen; the empty name, which stands for none, is always among them."""
        return list(self._keys)

    def add(
        self, name: str, config: LoraConfig, weights: Mapping[str, torch.Tensor], dtype: torch.dtype
    ) -> None:
        """Add an adapter, which is not chosen yet.

        Args:
            name: what it is chosen by.
            config: what peft knows of it.
            weights: its tensors for this block, by their names in its file; none if it leaves the block as it is.
            dtype: type to keep them in.

        Raises:
            InvalidInput: they are not made for this block.
        """
        key = str(len(self._keys))  # peft makes modules of these names, which may not hold a dot
        self._keys[name] = [key]
        if weights:
            self._inject(name, key, config, {tensor: value.to(dtype) for tensor, value in weights.items()})

    def _inject(self, name: str, key: str, config: LoraConfig, weights: dict[str, torch.Tensor]) -> None:
        there = {path for path, _ in self._whole.named_modules()}
        if missing := sorted({module_of(tensor) for tensor in weights} - there):
            raise self._unfit(name, f"the model has no {', '.join(missing[:3])}")
        named = {tensor.removeprefix(_PREFIX): value for tensor, value in weights.items()}
        left: Any
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that the adapter's other blocks are not here
                inject_adapter_in_model(
                    deepcopy(config), self._whole, key, low_cpu_mem_usage=True, state_dict=named
                )
                left = set_peft_model_state_dict(self._whole, named, key, low_cpu_mem_usage=True)
        except (ValueError, TypeError, RuntimeError) as error:
            raise self._unfit(name, str(error)) from error
        if left.unexpected_keys:
            raise self._unfit(name, f"peft does not know {', '.join(left.unexpected_keys[:3])}")
        self._layer.eval().requires_grad_(False)
        self._changed = [module for module in self._layer.modules() if isinstance(module, BaseTunerLayer)]
        self._apply()

    def _unfit(self, name: str, reason: str) -> InvalidInput:
        return InvalidInput(
            f"adapter {name} does not fit {self._what}: {reason}",
            "serve an adapter that was made for the model",
        )

    def choose(self, name: str) -> None:
        """Let the block's next passes be with this adapter, or without any if the name is empty.

        Raises:
            InvalidInput: it was not added; the message lists those that were.
        """
        if name == self._chosen:
            return
        if name not in self._keys:
            raise unknown_adapter(name, self.names)
        self._chosen = name
        self._apply()

    def _apply(self) -> None:
        for module in self._changed:
            module.set_adapter(self._keys[self._chosen], inference_mode=True)


def unknown_adapter(name: object, known: Collection[str]) -> InvalidInput:
    """Return the error to raise for an adapter that this server does not have."""
    has = ", ".join(filter(None, known)) or "no adapter"
    return InvalidInput(
        f"this server does not have adapter {name!r}; it has {has}", "choose one of these, or none"
    )


def _in_its_place(anatomy: Anatomy, index: int, layer: nn.Module) -> Any:
    """Return what has the layer under its full name in the model; an adapter's settings may speak of that."""
    base: nn.Module = nn.Module()
    whole: Any = nn.Module()
    base.add_module(anatomy.layers_name, nn.ModuleDict({str(index): layer}))
    whole.add_module(anatomy.causal_lm_class.base_model_prefix, base)
    # peft asks a model, not its layers, how they are quantized
    whole.is_loaded_in_4bit = any(isinstance(module, Linear4bit) for module in layer.modules())
    whole.is_loaded_in_8bit = any(isinstance(module, Linear8bitLt) for module in layer.modules())
    return whole
