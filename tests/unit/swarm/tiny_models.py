"""Small random models of every architecture that Calyx serves, saved as the hub holds them.

Weights are larger than a fresh model's, so that attention, positions and experts matter to the text.
"""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MixtralConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
)

VOCABULARY = 320
BLOCKS = 4
MAX_LENGTH = 1024

_COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": MAX_LENGTH,
    "initializer_range": 0.15,
    "bos_token_id": 1,
    "eos_token_id": None,
}


def _llama() -> PreTrainedConfig:
    return LlamaConfig(**_COMMON)


def _llama_with_scaled_positions() -> PreTrainedConfig:
    """Llama 3.1's scaling, with an original length that the tests' prompts outgrow; besides, as in Llama 3.2 1B,
    head and embeddings are one, and heads are wider than their share of the hidden size."""
    return LlamaConfig(
        **_COMMON,
        head_dim=32,
        tie_word_embeddings=True,
        rope_parameters={
            "rope_theta": 500000.0,
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    )


def _mixtral() -> PreTrainedConfig:
    return MixtralConfig(**_COMMON, num_local_experts=4, num_experts_per_tok=2)


CONFIGS: dict[str, Callable[[], PreTrainedConfig]] = {
    "llama": _llama,
    "llama-3.1": _llama_with_scaled_positions,
    "mixtral": _mixtral,
}
"""Variant → its configuration; every architecture of ``families.json`` has at least one."""


def _spell_positions_as_the_hub(path: Path) -> None:
    """Checkpoints made before transformers 5, which are nearly all, know no ``rope_parameters``."""
    config = json.loads(path.read_text())
    positions = config.pop("rope_parameters")
    config["rope_theta"] = positions.pop("rope_theta")
    config["rope_scaling"] = positions if positions["rope_type"] != "default" else None
    path.write_text(json.dumps(config))


def save_tiny_model(folder: Path, variant: str, *, max_shard_size: str = "200KB", seed: int = 0) -> Path:
    """Save a random model with its tokenizer into ``folder``; the same seed gives the same weights."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(CONFIGS[variant](), dtype=torch.float32)
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    _spell_positions_as_the_hub(folder / "config.json")
    words = Tokenizer(WordLevel({f"w{index}": index for index in range(VOCABULARY)}, unk_token="w0"))
    words.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, bos_token="w1", unk_token="w0").save_pretrained(folder)
    return folder
