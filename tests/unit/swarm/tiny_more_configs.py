"""Tiny configurations of further architectures, like those of ``tiny_configs``."""

from collections.abc import Callable
from typing import Any

from transformers import (
    ApertusConfig,
    ArceeConfig,
    Cohere2Config,
    Ernie4_5Config,
    Exaone4Config,
    GemmaConfig,
    Glm4Config,
    Glm4MoeConfig,
    GPT2Config,
    GPTJConfig,
    GptOssConfig,
    GraniteMoeConfig,
    HeliumConfig,
    HunYuanDenseV1Config,
    Ministral3Config,
    MptConfig,
    NemotronConfig,
    Olmo3Config,
    OlmoConfig,
    OlmoeConfig,
    PhiConfig,
    PhimoeConfig,
    PreTrainedConfig,
    SeedOssConfig,
    Starcoder2Config,
)

from tests.unit.swarm.tiny_configs import CONFIGS
from tests.unit.swarm.tiny_sizes import ANY, BLOCKS, COMMON, MAX_LENGTH, VOCABULARY, WINDOW

_YARN: dict[str, Any] = {
    "rope_type": "yarn",
    "rope_theta": 150_000.0,
    "factor": 4.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "truncate": False,
    "original_max_position_embeddings": 64,
}


def _gemma() -> PreTrainedConfig:
    """multi-query attention, scaled embeddings"""
    return GemmaConfig(**COMMON | {"num_key_value_heads": 1}, head_dim=32)


def _cohere2() -> PreTrainedConfig:
    """local layers, and global ones without positions"""
    return Cohere2Config(**COMMON, sliding_window=WINDOW, logit_scale=0.25)


def _olmo() -> PreTrainedConfig:
    """norms without weights, clipped projections"""
    return OlmoConfig(**COMMON, clip_qkv=2.0)


def _olmo3() -> PreTrainedConfig:
    """local and global layers, norms behind attention and MLP"""
    return Olmo3Config(**COMMON, sliding_window=WINDOW)


def _olmoe() -> PreTrainedConfig:
    """mixture of experts"""
    return OlmoeConfig(**COMMON, num_experts=4, num_experts_per_tok=2)


def _starcoder2() -> PreTrainedConfig:
    """sliding window, biases"""
    return Starcoder2Config(**COMMON, sliding_window=WINDOW)


def _phi() -> PreTrainedConfig:
    """parallel attention and MLP, norms of queries and keys"""
    return PhiConfig(**COMMON, partial_rotary_factor=0.5, qk_layernorm=True)


def _phimoe() -> PreTrainedConfig:
    """mixture of experts"""
    return PhimoeConfig(**COMMON, num_local_experts=4, num_experts_per_tok=2)


def _gpt2() -> PreTrainedConfig:
    """learned positions"""
    return GPT2Config(**ANY, n_positions=MAX_LENGTH)


def _gptj() -> PreTrainedConfig:
    """parallel attention and MLP"""
    return GPTJConfig(**ANY, n_positions=MAX_LENGTH, rotary_dim=8)


def _mpt() -> PreTrainedConfig:
    """linear biases (ALiBi)"""
    return MptConfig(
        vocab_size=VOCABULARY,
        d_model=64,
        n_heads=4,
        n_layers=BLOCKS,
        max_seq_len=MAX_LENGTH,
        initializer_range=0.15,
        eos_token_id=None,
    )


def _glm4() -> PreTrainedConfig:
    """norms around attention and MLP"""
    return Glm4Config(**COMMON, head_dim=32, partial_rotary_factor=0.5)


def _glm4_moe() -> PreTrainedConfig:
    """mixture of experts above dense layers"""
    return Glm4MoeConfig(
        **COMMON,
        head_dim=32,
        n_routed_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=48,
        first_k_dense_replace=1,
        use_qk_norm=True,
    )


def _granite_moe() -> PreTrainedConfig:
    """mixture of experts, multipliers"""
    return GraniteMoeConfig(
        **COMMON,
        num_local_experts=4,
        num_experts_per_tok=2,
        embedding_multiplier=6.0,
        residual_multiplier=0.5,
    )


def _gpt_oss() -> PreTrainedConfig:
    """attention sinks, local and global layers, mixture of experts"""
    return GptOssConfig(
        **COMMON,
        head_dim=32,
        sliding_window=WINDOW,
        num_local_experts=4,
        num_experts_per_tok=2,
        rope_parameters=_YARN,
    )


def _ministral3() -> PreTrainedConfig:
    """positions scaled by YaRN, queries scaled by their position"""
    positions = _YARN | {"llama_4_scaling_beta": 0.1}
    return Ministral3Config(**COMMON, head_dim=32, rope_parameters=positions)


def _ernie() -> PreTrainedConfig:
    """biases, interleaved rotary embedding"""
    return Ernie4_5Config(**COMMON, use_bias=True)


def _exaone4() -> PreTrainedConfig:
    """local layers, and global ones without positions"""
    return Exaone4Config(**COMMON, sliding_window=WINDOW, sliding_window_pattern=4)


def _seed_oss() -> PreTrainedConfig:
    """biases of queries, keys and values"""
    return SeedOssConfig(**COMMON, head_dim=32)


def _nemotron() -> PreTrainedConfig:
    """squared activations, norms with an offset"""
    return NemotronConfig(**COMMON, head_dim=16, partial_rotary_factor=0.5)


def _hunyuan() -> PreTrainedConfig:
    """norms of queries and keys"""
    return HunYuanDenseV1Config(**COMMON, head_dim=32)


def _arcee() -> PreTrainedConfig:
    """squared activations"""
    return ArceeConfig(**COMMON)


def _helium() -> PreTrainedConfig:
    """interleaved rotary embedding"""
    return HeliumConfig(**COMMON, head_dim=16)


def _apertus() -> PreTrainedConfig:
    """an activation with weights, norms of queries and keys"""
    return ApertusConfig(**COMMON)


MORE_CONFIGS: dict[str, Callable[[], PreTrainedConfig]] = {
    "gemma": _gemma,
    "cohere2": _cohere2,
    "olmo": _olmo,
    "olmo3": _olmo3,
    "olmoe": _olmoe,
    "starcoder2": _starcoder2,
    "phi": _phi,
    "phimoe": _phimoe,
    "gpt2": _gpt2,
    "gptj": _gptj,
    "mpt": _mpt,
    "glm4": _glm4,
    "glm4-moe": _glm4_moe,
    "granite-moe": _granite_moe,
    "gpt-oss": _gpt_oss,
    "ministral3": _ministral3,
    "ernie": _ernie,
    "exaone4": _exaone4,
    "seed-oss": _seed_oss,
    "nemotron": _nemotron,
    "hunyuan": _hunyuan,
    "arcee": _arcee,
    "helium": _helium,
    "apertus": _apertus,
}
"""Variant → its configuration."""
ALL_CONFIGS = CONFIGS | MORE_CONFIGS
"""Every architecture of ``families.json`` is among them."""
