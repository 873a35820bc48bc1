"""Every family runs in batches what it computes alone, or is found out before anyone is served."""

from pathlib import Path

import pytest
import torch

from services.common.settings import SwarmSettings
from services.swarm.family.layer_inputs import LayerInputs
from services.swarm.loading import load_block
from services.swarm.serving.packed_check import differs_in_batches
from services.swarm.spec import ModelSpec
from tests.unit.swarm.tiny_models import save_tiny_model
from tests.unit.swarm.tiny_more_configs import ALL_CONFIGS

CPU = torch.device("cpu")
ONE_AFTER_ANOTHER = {
    # attention is their own, and asks nobody else to attend
    *("bloom", "falcon", "falcon-40b", "falcon-rw", "gptj", "mpt"),
    # layers do not hand on to attention what the span says to them
    *("nemotron", "stablelm", "stablelm-parallel"),
    # attention sinks, and positions that depend on the longest text
    *("gpt-oss", "phi3-longrope"),
}


@pytest.mark.parametrize("variant", ALL_CONFIGS)
def test_batches(tmp_path: Path, variant: str) -> None:
    save_tiny_model(tmp_path / "tiny" / "model", variant)
    spec = ModelSpec.find(SwarmSettings.load(model="tiny/model", models_dir=tmp_path, cache_dir=tmp_path))
    inputs = LayerInputs(spec.anatomy, torch.float32, CPU)
    blocks = [load_block(spec.files, spec.anatomy, index, inputs) for index in range(spec.num_blocks)]

    problem = differs_in_batches(blocks, inputs, torch.float32, CPU)

    assert (problem is not None) == (variant in ONE_AFTER_ANOTHER), problem
