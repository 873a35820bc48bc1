"""Blocks whose linear layers keep their weights in fewer bits: more blocks fit, and a step fetches less from memory.

bitsandbytes has the layers for 4 bits, and those of 8 bits for GPUs; CPUs have a faster way to 8 bits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeGuard

import torch
from torch import nn

from services.swarm.family import int8_on_cpu
from services.swarm.family.bnb_linear import llm_int8_bytes, llm_int8_linear, nf4_bytes, nf4_linear

Quantization = Literal["none", "int8", "nf4"]


@dataclass(frozen=True)
class _Way:
    """How linear layers keep their weights.

    Attributes:
        change: makes a quantized layer of a linear one, on its device.
        weight_bytes: how many bytes its weights take then, without biases.
        multiple: sizes that are no multiple of it cannot be changed.
    """

    change: Callable[[nn.Linear], nn.Linear]
    weight_bytes: Callable[[nn.Linear, torch.dtype], int]
    multiple: int = 1

    def fits(self, module: nn.Module) -> TypeGuard[nn.Linear]:
        """Tell whether the module can be changed; subclasses of linear layers compute something else."""
        return (
            type(module) is nn.Linear
            and not module.in_features % self.multiple
            and not module.out_features % self.multiple
        )


_NF4 = _Way(nf4_linear, nf4_bytes)
_LLM_INT8 = _Way(llm_int8_linear, llm_int8_bytes)
_INT8 = _Way(int8_on_cpu.Int8Linear, int8_on_cpu.weight_bytes, int8_on_cpu.MULTIPLE)


def _way(quantization: Quantization, device: torch.device) -> _Way | None:
    if quantization == "int8":
        return _INT8 if device.type == "cpu" else _LLM_INT8
    return _NF4 if quantization == "nf4" else None


def quantize(layer: nn.Module, quantization: Quantization, device: torch.device) -> None:
    """Keep the linear layers inside in fewer bits, as far as they can be.

    Experts that transformers keeps as one tensor stay as they are.

    Args:
        layer: the layer, on the device.
        quantization: in how many bits.
        device: where it will run.
    """
    way = _way(quantization, device)
    for name, child in layer.named_children():
        if way is not None and way.fits(child):
            setattr(layer, name, way.change(child).train(child.training))
        else:
            quantize(child, quantization, device)


def parameter_bytes(
    layer: nn.Module, dtype: torch.dtype, quantization: Quantization, device: torch.device
) -> int:
    """Return how many bytes the layer's weights take on the device, which may be without memory themselves."""
    way = _way(quantization, device)
    total = sum(parameter.numel() for parameter in layer.parameters()) * dtype.itemsize
    for module in layer.modules():
        if way is not None and way.fits(module):
            total += way.weight_bytes(module, dtype) - module.weight.numel() * dtype.itemsize
    return total


def rounds_inputs(quantization: Quantization, device: torch.device) -> bool:
    """Tell whether inputs of linear layers are rounded to 8 bits too, as LLM.int8 does.

    It leaves those in 16 bits that are large in any row, so a row's numbers depend on who is beside it.
    """
    return _way(quantization, device) is _LLM_INT8
