"""What cannot be cut into blocks is refused before any weight is loaded, with the reason."""

from collections.abc import Callable

import pytest
import torch
from transformers import (
    DeepseekV2Config,
    Gemma3Config,
    Gemma3nTextConfig,
    Gemma3TextConfig,
    Gemma4TextConfig,
    LlamaConfig,
    MambaConfig,
    PreTrainedConfig,
    Qwen3NextConfig,
    RecurrentGemmaConfig,
    T5Config,
    ViTConfig,
)

from services.common.errors import InvalidInput
from services.swarm.family.anatomy import Anatomy
from services.swarm.family.layer_inputs import LayerInputs
from tests.unit.swarm.tiny_configs import CONFIGS
from tests.unit.swarm.tiny_sizes import MAX_LENGTH


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (T5Config, "it has an encoder beside its decoder"),
        (Gemma3Config, "it takes more than text (vision_config)"),
        (ViTConfig, "it does not continue texts"),
        (MambaConfig, "not all of its layers take a cache of keys and values"),
        (RecurrentGemmaConfig, "its layer 0 keeps no keys and values of its own"),
        (Qwen3NextConfig, "its layer 0 keeps no keys and values of its own (Cannot get conv state"),
        (
            lambda: Gemma4TextConfig(num_kv_shared_layers=2),
            "its upper layers use keys and values of lower ones",
        ),
        (
            lambda: Gemma3nTextConfig(num_kv_shared_layers=0),
            "its layers exchange more than hidden states",
        ),
        (
            lambda: LlamaConfig(quantization_config={"quant_method": "fp8"}),
            "its weights are quantized (fp8)",
        ),
        (DeepseekV2Config, "its keys and values are not of one shape"),
        (
            lambda: Gemma3TextConfig(num_hidden_layers=2, use_bidirectional_attention=True),
            "its tokens see those that come after them",
        ),
    ],
)
def test_what_cannot_be_cut_into_blocks(make: Callable[[], PreTrainedConfig], reason: str) -> None:
    config = make()

    with pytest.raises(InvalidInput) as refused:
        Anatomy.of(config)

    assert str(refused.value).startswith(
        f"a model of architecture {config.model_type!r} cannot be cut into blocks: {reason}"
    )
    assert str(refused.value).endswith(" — serve another model")


def _llama_with_dynamic_positions() -> PreTrainedConfig:
    return LlamaConfig(
        num_hidden_layers=2,
        max_position_embeddings=MAX_LENGTH,
        rope_parameters={"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 4.0},
    )


@pytest.mark.parametrize(
    ("make", "length"),
    [(CONFIGS["phi3-longrope"], MAX_LENGTH // 2), (_llama_with_dynamic_positions, MAX_LENGTH)],
)
def test_texts_whose_positions_would_all_change(make: Callable[[], PreTrainedConfig], length: int) -> None:
    anatomy = Anatomy.of(make())
    inputs = LayerInputs(anatomy, torch.float32, torch.device("cpu"))
    assert anatomy.max_length == length

    before = inputs.of(0, torch.zeros(1, 1, 64), length - 1, None)
    with pytest.raises(InvalidInput, match=f"a text of {length + 1} tokens: .* — keep to {length} tokens"):
        inputs.of(0, torch.zeros(1, 1, 64), length, None)

    assert before.keys() == inputs.of(0, torch.zeros(1, 1, 64), length - 1, None).keys()


@pytest.mark.parametrize(
    ("variant", "length"), [("llama", MAX_LENGTH), ("bloom", MAX_LENGTH), ("falcon-rw", MAX_LENGTH)]
)
def test_the_length_that_a_model_was_trained_for(variant: str, length: int) -> None:
    assert Anatomy.of(CONFIGS[variant]()).max_length == length
