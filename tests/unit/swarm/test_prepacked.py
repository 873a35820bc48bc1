"""Weights in oneDNN's order: the same numbers, gradients and bytes."""

import pytest
import torch
from torch import nn

from services.swarm.family.prepacked import PrepackedLinear, can_be_prepacked, prepack, rows_computed

ROUNDING = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
SIZES = [(64, 96), (576, 160), (33, 7)]


def made(size: tuple[int, int], dtype: torch.dtype, *, bias: bool = True) -> tuple[nn.Linear, nn.Module]:
    torch.manual_seed(0)
    linear = nn.Linear(*size, bias=bias).to(dtype).requires_grad_(False).eval()
    layer = nn.ModuleList([linear])
    prepack(layer)
    return linear, layer[0]


@pytest.fixture(params=ROUNDING, ids=str)
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    kind: torch.dtype = request.param
    assert can_be_prepacked(torch.empty(1, 1, dtype=torch.float32))
    if not can_be_prepacked(torch.empty(1, 1, dtype=kind)):
        kind = torch.float32  # this processor has no products of the other
    return kind


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("bias", [True, False])
def test_outputs_are_the_same(size: tuple[int, int], dtype: torch.dtype, *, bias: bool) -> None:
    linear, packed = made(size, dtype, bias=bias)
    assert isinstance(packed, PrepackedLinear)

    for shape in [(1,), (1, 1), (3, 7), (2, 130), (1, 0)]:
        inputs = torch.randn(*shape, size[0]).to(dtype)
        with torch.inference_mode():
            torch.testing.assert_close(packed(inputs), linear(inputs), rtol=0, atol=ROUNDING[dtype])


def test_few_numbers_of_rows_are_computed_and_few_rows_too_many() -> None:
    counted = {rows: rows_computed(rows) for rows in range(4097)}

    assert all(counted[rows] == rows for rows in range(17))
    assert all(rows <= computed <= rows * 9 / 8 for rows, computed in counted.items())
    assert len(set(counted.values())) < 100


def test_rows_that_fill_up_change_nothing(dtype: torch.dtype) -> None:
    _, packed = made((64, 96), dtype)
    inputs = torch.randn(256, 64).to(dtype)

    with torch.inference_mode():
        whole = packed(inputs)
        for rows in (17, 129, 255):
            assert rows_computed(rows) > rows
            torch.testing.assert_close(packed(inputs[:rows]), whole[:rows], rtol=0, atol=ROUNDING[dtype])


def test_inputs_may_be_a_part_of_others(dtype: torch.dtype) -> None:
    linear, packed = made((64, 96), dtype)
    inputs = torch.randn(5, 3, 128).to(dtype)[:, ::2, 64:].transpose(0, 1)

    with torch.inference_mode():
        torch.testing.assert_close(packed(inputs), linear(inputs), rtol=0, atol=ROUNDING[dtype])


def test_gradients_are_the_same_also_between_steps(dtype: torch.dtype) -> None:
    linear, packed = made((64, 96), dtype)
    direction = torch.randn(3, 96).to(dtype)
    inputs, same = (torch.ones(3, 64, dtype=dtype, requires_grad=True) for _ in range(2))

    with torch.inference_mode():
        packed(torch.randn(1, 64).to(dtype))
    linear(inputs).backward(direction)
    packed(same).backward(direction)

    assert inputs.grad is not None
    assert same.grad is not None
    assert same.grad.equal(inputs.grad)


def test_each_weight_is_kept_once(dtype: torch.dtype) -> None:
    linear, packed = made((576, 160), dtype)

    assert linear.weight.equal(packed.weight.to_dense())
    assert [name for name, _ in packed.named_parameters()] == ["weight", "bias"]


class Special(nn.Linear):
    """Computes something else."""


def test_other_layers_and_types_stay_as_they_are() -> None:
    half, special, inner = nn.Linear(4, 4).half(), Special(4, 4), nn.Linear(4, 4)
    layer = nn.ModuleList([half, special, nn.Sequential(inner, nn.ReLU())])

    prepack(layer)

    assert layer[0] is half
    assert layer[1] is special
    assert type(layer[2][0]) is PrepackedLinear


@pytest.mark.parametrize(("twice", "packed"), [(0, False), (8 * 4 * 4 - 1, False), (8 * 4 * 4, True)])
def test_a_head_that_is_tied_to_the_embeddings_is_kept_twice_if_it_is_small(
    twice: int, *, packed: bool
) -> None:
    embeddings, head, other = nn.Embedding(8, 4), nn.Linear(4, 8, bias=False), nn.Linear(4, 4)
    head.weight = embeddings.weight
    layer = nn.ModuleList([embeddings, head, other])

    prepack(layer, twice=twice)

    assert (type(layer[1]) is PrepackedLinear) == packed
    assert type(layer[2]) is PrepackedLinear
    assert layer[0].weight is head.weight
