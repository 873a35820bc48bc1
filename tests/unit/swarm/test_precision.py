"""The type of numbers: what is asked for, else the model's own, if the processor computes in it."""

import pytest
import torch

from services.common.errors import InvalidSetting
from services.swarm.precision import choose_dtype

CPU, GPU = torch.device("cpu"), torch.device("cuda")
BFLOAT16, FLOAT16, FLOAT32 = torch.bfloat16, torch.float16, torch.float32


@pytest.mark.parametrize(
    ("wanted", "model", "device", "bfloat16_cpu", "chosen"),
    [
        ("auto", BFLOAT16, CPU, True, BFLOAT16),
        ("auto", BFLOAT16, CPU, False, FLOAT32),
        ("auto", FLOAT16, CPU, True, BFLOAT16),
        ("auto", FLOAT16, CPU, False, FLOAT32),
        ("auto", FLOAT32, CPU, True, FLOAT32),
        ("auto", None, CPU, True, BFLOAT16),
        ("auto", None, CPU, False, FLOAT32),
        ("auto", BFLOAT16, GPU, False, BFLOAT16),
        ("auto", FLOAT16, GPU, False, FLOAT16),
        ("auto", FLOAT32, GPU, True, FLOAT32),
        ("auto", None, GPU, False, BFLOAT16),
        ("float32", BFLOAT16, CPU, True, FLOAT32),
        ("bfloat16", FLOAT32, CPU, False, BFLOAT16),
        ("float16", BFLOAT16, GPU, False, FLOAT16),
    ],
)
def test_the_type_that_is_computed_in(
    wanted: str,
    model: torch.dtype | None,
    device: torch.device,
    bfloat16_cpu: bool,
    chosen: torch.dtype,
) -> None:
    assert choose_dtype(wanted, model, device, bfloat16_cpu) == chosen


def test_half_precision_on_a_cpu() -> None:
    with pytest.raises(
        InvalidSetting, match="float16 does not run on a CPU — set the type to bfloat16 or float32"
    ):
        choose_dtype("float16", FLOAT16, CPU, True)
