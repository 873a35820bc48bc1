"""Weights of 8 bits: nearly the same numbers, for rows and sizes of all kinds."""

import pytest
import torch
from torch import nn

from services.swarm.family.quantized import Int8Linear, parameter_bytes, quantize

NEAR = {torch.float32: 0.01, torch.bfloat16: 0.02}
"""The most that outputs may be off, in parts of their length: 8 bits of 3 standard deviations are 0.7 % off."""


@pytest.mark.parametrize("dtype", NEAR)
@pytest.mark.parametrize("size", [(32, 32), (32, 96), (576, 1536), (1536, 576), (160, 64)])
def test_outputs_are_nearly_those_of_the_whole_weights(dtype: torch.dtype, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(*size).to(dtype)
    quantized = Int8Linear(linear)

    for rows in (1, 2, 3, 7, 16, 33, 130):
        inputs = torch.randn(2, rows, size[0]).to(dtype)
        with torch.inference_mode():
            wanted, got = linear(inputs).float(), quantized(inputs).float()
        assert got.shape == wanted.shape
        assert (got - wanted).norm() <= NEAR[dtype] * wanted.norm()


def test_a_weight_of_zeros_gives_zeros() -> None:
    linear = nn.Linear(32, 32, bias=False)
    nn.init.zeros_(linear.weight)

    assert not Int8Linear(linear)(torch.randn(1, 32)).any()


def test_gradients_reach_the_inputs() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(64, 32)
    inputs, same = (torch.ones(3, 64, requires_grad=True) for _ in range(2))

    linear(inputs).sum().backward()
    Int8Linear(linear)(same).sum().backward()

    assert inputs.grad is not None
    assert same.grad is not None
    torch.testing.assert_close(same.grad, inputs.grad, rtol=0.02, atol=0.02)


def test_only_what_the_kernel_takes_is_changed_and_counted() -> None:
    class Special(nn.Linear):
        """Computes something else."""

    layer = nn.Sequential(
        nn.Linear(64, 64), nn.Linear(64, 40), nn.Sequential(nn.Linear(32, 64)), Special(64, 64)
    )
    counted = parameter_bytes(layer, torch.float32, "int8")

    quantize(layer)

    kinds = [type(module) for module in layer.modules() if not list(module.children())]
    assert kinds == [Int8Linear, nn.Linear, Int8Linear, Special]
    assert counted == sum(parameter.nbytes for parameter in layer.parameters())
    assert parameter_bytes(nn.Linear(64, 64), torch.bfloat16, "none") == 2 * 65 * 64
