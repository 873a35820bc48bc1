"""With what CUDA graphs are refused, before anything is loaded."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from services.common.errors import InvalidSetting
from services.server.app import _check_graphs
from tests.unit.server.test_quantization_limits import OPTIONS

GPU = torch.device("cuda", 0)


def check(**options: Any) -> None:
    _check_graphs(replace(OPTIONS, **{"cuda_graphs": True, "device": GPU, **options}))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"quantization": "nf4"},
        {"cuda_graphs": False, "device": torch.device("cpu"), "batched": False, "batch_invariant": True},
    ],
)
def test_what_can_be_served(options: dict[str, Any]) -> None:
    check(**options)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"device": torch.device("cpu")}, "on cpu there are none"),
        ({"batched": False}, "with CALYX_SCHEDULER=stock nothing of ours runs"),
        ({"batch_invariant": True}, "CALYX_BATCH_INVARIANT=1 has its own order of work"),
    ],
)
def test_what_has_no_graphs_is_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        check(**options)

    assert str(refused.value) == f"CUDA graphs are wanted, but {reason} — set CALYX_CUDA_GRAPHS=0"
