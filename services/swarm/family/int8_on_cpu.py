"""Weights of 8 bits on a CPU: a block takes half the memory, and a product of one row half the time.

A step of few tokens waits for weights to come from memory, so fewer bytes are fewer seconds. Each output of a linear
layer has a scale of its own, for which its largest weight becomes 127; activations stay as they are (weight-only, as
``int8_weight_only`` of torchao, whose kernel in torch is used here).
"""

import torch
from torch import nn
from torch.nn import functional

MULTIPLE = 32
"""torch's kernel takes sizes that are multiples of its vectors, and does not check."""
_LARGEST = 127


class Int8Linear(nn.Linear):
    """A linear layer that keeps its weights in 8 bits.

    Args:
        linear: the layer that it takes the place of; its type of numbers is that of inputs and outputs.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=False, device="meta")
        weight = linear.weight.detach()
        largest = weight.abs().amax(dim=1, keepdim=True).float().clamp(min=torch.finfo(torch.float32).tiny)
        scale = largest / _LARGEST
        self.weight = nn.Parameter((weight.float() / scale).round().to(torch.int8), requires_grad=False)
        self.scale = nn.Parameter(scale[:, 0].to(weight.dtype), requires_grad=False)
        self.bias = linear.bias

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return [..., outputs] for [..., inputs]; gradients pass through to the inputs."""
        if inputs.requires_grad and torch.is_grad_enabled():
            weight = self.weight.to(inputs.dtype) * self.scale[:, None]
            return functional.linear(inputs, weight, self.bias)
        rows = inputs.reshape(-1, inputs.shape[-1]).contiguous()
        outputs = torch._weight_int8pack_mm(rows, self.weight, self.scale)
        outputs = outputs.view(*inputs.shape[:-1], outputs.shape[-1])
        return outputs if self.bias is None else outputs + self.bias


def weight_bytes(linear: nn.Linear, dtype: torch.dtype) -> int:
    """Return how many bytes the weights of such a layer take, without its biases."""
    return linear.weight.numel() + linear.out_features * dtype.itemsize
