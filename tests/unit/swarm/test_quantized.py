"""Weights of 8 and 4 bits: nearly the same numbers, for rows and sizes of all kinds."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from services.swarm.family.quantized import Quantization, parameter_bytes, quantize, rounds_inputs

CPU, GPU = torch.device("cpu"), torch.device("cuda")
"""For a GPU, only layers are chosen here: bitsandbytes' run on CPUs too."""
OFF: dict[tuple[Quantization, torch.device], float] = {
    ("int8", CPU): 0.01,
    ("int8", GPU): 0.02,
    ("nf4", CPU): 0.11,
    ("nf4", GPU): 0.11,
}
"""The most that outputs may be off, in parts of their length: 8 bits of 3 standard deviations are 0.7 % off, 4 bits
that are laid where weights are dense 9 %."""
ROUNDING = {torch.float32: 0.0, torch.bfloat16: 0.01}


def quantized(linear: nn.Linear, how: Quantization, device: torch.device) -> nn.Module:
    layer = nn.ModuleList([linear]).eval()
    quantize(layer, how, device)
    assert layer[0] is not linear
    return layer[0]


@pytest.mark.parametrize(("how", "device"), OFF)
@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("size", [(32, 96), (576, 160)])
def test_outputs_are_nearly_those_of_the_whole_weights(
    how: Quantization, device: torch.device, dtype: torch.dtype, size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(*size).to(dtype)
    fewer_bits = quantized(linear, how, device)

    for rows in (1, 2, 3, 7, 16, 33, 130):
        inputs = torch.randn(2, rows, size[0]).to(dtype)
        with torch.inference_mode():
            wanted, got = linear(inputs).float(), fewer_bits(inputs).float()
        assert got.shape == wanted.shape
        assert (got - wanted).norm() <= (OFF[how, device] + ROUNDING[dtype]) * wanted.norm()


@pytest.mark.parametrize(("how", "device"), OFF)
def test_a_weight_of_zeros_gives_zeros(how: Quantization, device: torch.device) -> None:
    linear = nn.Linear(32, 32, bias=False)
    nn.init.zeros_(linear.weight)

    assert not quantized(linear, how, device)(torch.randn(1, 32)).any()


@pytest.mark.parametrize(("how", "device"), OFF)
def test_gradients_reach_the_inputs_also_between_steps(how: Quantization, device: torch.device) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(64, 32).requires_grad_(False)
    fewer_bits = quantized(linear, how, device)
    direction = torch.randn(3, 32)
    inputs, same = (torch.ones(3, 64, requires_grad=True) for _ in range(2))

    for _ in range(2):
        with torch.inference_mode():
            fewer_bits(torch.randn(1, 64))
    linear(inputs).backward(direction)
    fewer_bits(same).backward(direction)

    assert inputs.grad is not None
    assert same.grad is not None
    assert (same.grad - inputs.grad).norm() <= 1.2 * OFF[how, device] * inputs.grad.norm()


class Special(nn.Linear):
    """Computes something else."""


def make_layer(first: int) -> nn.Sequential:
    inner = nn.Sequential(nn.Linear(first, 64))
    return nn.Sequential(nn.Linear(first, first), nn.Linear(64, 40, bias=False), inner, Special(64, 64))


def tensors_of(module: nn.Module) -> Iterator[torch.Tensor]:
    """Yield what a quantized layer keeps, weights last of all."""
    for parameter in module.parameters():
        yield parameter.data
        if state := getattr(parameter, "quant_state", None):
            yield from (state.absmax, state.code, state.offset, state.state2.absmax, state.state2.code)
        if (scales := getattr(parameter, "SCB", None)) is not None:
            yield scales


@pytest.mark.parametrize(("how", "device"), OFF)
def test_a_layer_takes_the_bytes_that_are_counted_for_it(how: Quantization, device: torch.device) -> None:
    layer = make_layer(64)
    counted = parameter_bytes(layer, torch.float32, how, device)

    quantize(layer, how, device)

    assert sum(tensor.nbytes for tensor in tensors_of(layer)) == counted


@pytest.mark.parametrize(("how", "kept"), [("int8", [1, 3]), ("nf4", [3]), ("none", [0, 1, 2, 3])])
def test_what_cannot_be_changed_stays_as_it_is(how: Quantization, kept: list[int]) -> None:
    layer = make_layer(64)
    before = [module for module in layer.modules() if isinstance(module, nn.Linear)]

    quantize(layer, how, CPU)

    after = [module for module in layer.modules() if isinstance(module, nn.Linear)]
    assert [number for number, module in enumerate(before) if module is after[number]] == kept


def test_only_llm_int8_rounds_inputs() -> None:
    assert [pair for pair in OFF if rounds_inputs(*pair)] == [("int8", GPU)]
    assert not rounds_inputs("none", GPU)
