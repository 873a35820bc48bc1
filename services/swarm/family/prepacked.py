"""Weights laid out once as a CPU's matrix products want them, instead of anew for each product.

oneDNN computes on blocks of a matrix. Where few tokens are multiplied, bringing the weights into that order takes a
good part of the time; compiled models of torch ("freezing") use the same two operators to pay it once.
"""

from collections import Counter

import torch
from torch import nn
from torch.nn import functional

_OPERATORS = torch.ops.mkldnn
_ROWS_EXPECTED = 16
"""What oneDNN is told when it chooses the order; it may be used with any number of rows."""
_TYPES = (torch.float32, torch.bfloat16)


class PrepackedLinear(nn.Linear):
    """A linear layer whose weight, [outputs, inputs], is kept in oneDNN's order.

    Args:
        linear: the layer that it takes the place of, on a CPU.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=False, device="meta")
        packed = _OPERATORS._reorder_linear_weight(linear.weight.detach(), _ROWS_EXPECTED)
        self.weight = nn.Parameter(packed, requires_grad=False)
        self.bias = linear.bias

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return [..., outputs] for [..., inputs]; gradients pass through to the inputs, for an unpacking."""
        if inputs.requires_grad and torch.is_grad_enabled():
            return functional.linear(inputs, self.weight.to_dense(), self.bias)
        rows = inputs.numel() // self.in_features
        if (more := rows_computed(rows) - rows) == 0:
            return self._product(inputs)
        padded = functional.pad(inputs.reshape(rows, self.in_features), (0, 0, 0, more))
        return self._product(padded)[:rows].view(*inputs.shape[:-1], self.out_features)

    def _product(self, inputs: torch.Tensor, activation: str = "none") -> torch.Tensor:
        outputs: torch.Tensor = _OPERATORS._linear_pointwise(
            inputs, self.weight, self.bias, activation, [], ""
        )
        return outputs

    def silu(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return what ``silu`` makes of the outputs [rows, outputs] for [rows, inputs]; no gradients."""
        return self._product(inputs, "swish")

    def times(self, inputs: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """Return ``other`` times the outputs, both [rows, outputs], number by number; no gradients."""
        outputs: torch.Tensor = _OPERATORS._linear_pointwise.binary(
            inputs, other, self.weight, self.bias, "mul"
        )
        return outputs


def rows_computed(rows: int) -> int:
    """Return with how many rows a product of so many is computed: up to an eighth more, none more up to 16.

    oneDNN translates a program for every number of rows that it meets and keeps about half a megabyte of each for
    good. In a server that meets them all, those of prompts would be gigabytes; with eight numbers between a power of
    two and the next they are few.
    """
    step = 1 << max(0, (rows - 1).bit_length() - 4)
    return -(-rows // step) * step


def can_be_prepacked(weight: torch.Tensor) -> bool:
    """Tell whether this processor has products for weights of this kind in oneDNN's order."""
    if weight.device.type != "cpu" or weight.dtype not in _TYPES or not torch.backends.mkldnn.is_available():
        return False
    return weight.dtype != torch.bfloat16 or bool(_OPERATORS._is_mkldnn_bf16_supported())


def prepack(part: nn.Module, *, twice: int = 0) -> None:
    """Lay out the weights of the linear layers inside, as far as this processor has a use for it.

    A weight that has other uses must be kept twice, as that of a head which is tied to the embeddings: it stays as it
    is if it takes more than ``twice`` bytes.
    """
    uses = Counter(id(weight) for module in part.modules() for weight in module.parameters(recurse=False))
    for module in list(part.modules()):
        for name, child in list(module.named_children()):
            # Subclasses compute something else
            if type(child) is not nn.Linear or not can_be_prepacked(child.weight):
                continue
            if uses[id(child.weight)] == 1 or child.weight.nbytes <= twice:
                setattr(module, name, PrepackedLinear(child).train(child.training))
