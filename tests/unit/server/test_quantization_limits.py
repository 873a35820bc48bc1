"""Which ways to keep weights are refused, before anything is loaded."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from services.common.errors import InvalidSetting
from services.common.settings import SwarmSettings
from services.server.app import _check_quantization
from services.swarm.family.quantized import Quantization
from services.swarm.serving.options import SpanOptions
from services.swarm.spec import ModelSpec
from tests.unit.swarm.tiny_models import save_tiny_model

OPTIONS = SpanOptions(
    device=torch.device("cpu"),
    dtype=torch.bfloat16,
    quantization="none",
    adapters=(),
    attn_cache_tokens=1,
    max_session_tokens=1,
    prefill_chunk_tokens=1,
    batched=True,
    batch_tokens=1,
    batch_seconds=1.0,
    batch_invariant=False,
    cuda_graphs=False,
    num_handlers=1,
    announce_period=1.0,
    throughput=1.0,
    public_name=None,
)


def check(folder: Path, variant: str, device: str, quantization: Quantization, *, invariant: bool) -> None:
    save_tiny_model(folder / "tiny" / "model", variant)
    model = ModelSpec.find(SwarmSettings.load(model="tiny/model", models_dir=folder, cache_dir=folder))
    wanted = replace(
        OPTIONS, device=torch.device(device), quantization=quantization, batch_invariant=invariant
    )
    _check_quantization(wanted, model)


@pytest.mark.parametrize("quantization", ["none", "int8", "nf4"])
@pytest.mark.parametrize(("device", "invariant"), [("cpu", True), ("cpu", False), ("cuda", False)])
def test_what_can_be_served(tmp_path: Path, device: str, quantization: Quantization, invariant: bool) -> None:
    check(tmp_path, "llama", device, quantization, invariant=invariant)


def test_rounding_that_depends_on_neighbours_is_not_invariant(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting) as refused:
        check(tmp_path, "llama", "cuda", "int8", invariant=True)

    assert str(refused.value) == (
        "with weights of int8 on cuda, an answer's rounding depends on who runs beside it"
        " — set CALYX_QUANTIZATION=nf4, or CALYX_BATCH_INVARIANT=0"
    )


@pytest.mark.parametrize("quantization", ["int8", "nf4"])
def test_layers_of_their_own_kind_cannot_be_quantized(tmp_path: Path, quantization: Quantization) -> None:
    with pytest.raises(InvalidSetting, match=f"nothing of a falcon block can be kept in {quantization} — "):
        check(tmp_path, "falcon", "cpu", quantization, invariant=False)
