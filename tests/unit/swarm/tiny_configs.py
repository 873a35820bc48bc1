"""Tiny configurations of every architecture that Calyx serves, with all that makes it different from the others.

A function's docstring says what is special; the README's table of verified families repeats it.
"""

from collections.abc import Callable

from transformers import (
    BloomConfig,
    CohereConfig,
    FalconConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPTNeoXConfig,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    Olmo2Config,
    Phi3Config,
    PreTrainedConfig,
    Qwen2Config,
    Qwen2MoeConfig,
    Qwen3Config,
    Qwen3MoeConfig,
    SmolLM3Config,
    StableLmConfig,
)

from tests.unit.swarm.tiny_sizes import ANY, COMMON, MAX_LENGTH, WINDOW


def _llama() -> PreTrainedConfig:
    """grouped-query attention"""
    return LlamaConfig(**COMMON)


def _llama_31() -> PreTrainedConfig:
    """scaled positions of Llama 3.1, tied head, wide heads of Llama 3.2"""
    return LlamaConfig(
        **COMMON,
        head_dim=32,
        tie_word_embeddings=True,
        rope_parameters={
            "rope_theta": 500000.0,
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,  # the tests' prompts are longer
        },
    )


def _mistral() -> PreTrainedConfig:
    """sliding window in all layers"""
    return MistralConfig(**COMMON, sliding_window=WINDOW)


def _mixtral() -> PreTrainedConfig:
    """mixture of experts"""
    return MixtralConfig(**COMMON, num_local_experts=4, num_experts_per_tok=2)


def _qwen2() -> PreTrainedConfig:
    """biases, sliding window in the upper layers"""
    return Qwen2Config(**COMMON, use_sliding_window=True, sliding_window=WINDOW, max_window_layers=2)


def _qwen2_moe() -> PreTrainedConfig:
    """mixture of experts with a shared one, layers without experts among them"""
    return Qwen2MoeConfig(
        **COMMON,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=48,
        shared_expert_intermediate_size=80,
        mlp_only_layers=[1],
    )


def _qwen3() -> PreTrainedConfig:
    """norms of queries and keys, wide heads"""
    return Qwen3Config(**COMMON, head_dim=32)


def _qwen3_moe() -> PreTrainedConfig:
    """mixture of experts in every second layer, norms of queries and keys"""
    return Qwen3MoeConfig(
        **COMMON,
        head_dim=32,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=48,
        norm_topk_prob=True,
        decoder_sparse_step=2,
    )


def _gemma2() -> PreTrainedConfig:
    """local and global layers in turns, soft caps of attention and logits, scaled embeddings"""
    return Gemma2Config(
        **COMMON,
        head_dim=32,
        query_pre_attn_scalar=32,
        sliding_window=WINDOW,
        attn_logit_softcapping=5.0,
        final_logit_softcapping=10.0,
    )


def _gemma3() -> PreTrainedConfig:
    """local and global layers with rotary settings of their own, norms of queries and keys"""
    return Gemma3TextConfig(
        **COMMON,
        head_dim=32,
        query_pre_attn_scalar=32,
        sliding_window=WINDOW,
        layer_types=["sliding_attention", "sliding_attention", "sliding_attention", "full_attention"],
        rope_parameters={
            "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
            "full_attention": {"rope_type": "linear", "rope_theta": 1_000_000.0, "factor": 8.0},
        },
    )


def _phi3() -> PreTrainedConfig:
    """fused projections, sliding window, rotary embedding of a part of each head"""
    return Phi3Config(**COMMON, sliding_window=WINDOW, partial_rotary_factor=0.5)


def _phi3_long() -> PreTrainedConfig:
    """positions scaled by LongRoPE, up to the length from which they would all change"""
    return Phi3Config(
        **COMMON,
        original_max_position_embeddings=MAX_LENGTH // 2,
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 10_000.0,
            "short_factor": [1.0 + index / 8 for index in range(8)],
            "long_factor": [2.0 + index for index in range(8)],
            "original_max_position_embeddings": MAX_LENGTH // 2,
        },
    )


def _olmo2() -> PreTrainedConfig:
    """norms behind attention and MLP, norms of queries and keys"""
    return Olmo2Config(**COMMON)


def _smollm3() -> PreTrainedConfig:
    """layers without positions"""
    return SmolLM3Config(**COMMON, no_rope_layer_interval=2)


def _granite() -> PreTrainedConfig:
    """multipliers of embeddings, attention, residuals and logits"""
    return GraniteConfig(
        **COMMON,
        embedding_multiplier=6.0,
        attention_multiplier=0.4,
        residual_multiplier=0.5,
        logits_scaling=4.0,
    )


def _cohere() -> PreTrainedConfig:
    """parallel attention and MLP, scaled logits, norms of queries and keys"""
    return CohereConfig(**COMMON, use_qk_norm=True, logit_scale=0.25)


def _stablelm() -> PreTrainedConfig:
    """rotary embedding of a part of each head, biases, norms of each head"""
    return StableLmConfig(**COMMON, partial_rotary_factor=0.25, use_qkv_bias=True, qk_layernorm=True)


def _stablelm_parallel() -> PreTrainedConfig:
    """parallel attention and MLP"""
    return StableLmConfig(**COMMON, use_parallel_residual=True)


def _gpt_neox() -> PreTrainedConfig:
    """parallel attention and MLP, rotary embedding of a part of each head, biases"""
    return GPTNeoXConfig(**ANY, intermediate_size=96, max_position_embeddings=MAX_LENGTH)


def _falcon() -> PreTrainedConfig:
    """multi-query attention, parallel attention and MLP"""
    return FalconConfig(**ANY, max_position_embeddings=MAX_LENGTH)


def _falcon_40b() -> PreTrainedConfig:
    """grouped-query attention of Falcon 40B and 180B"""
    return FalconConfig(
        **ANY, max_position_embeddings=MAX_LENGTH, new_decoder_architecture=True, num_kv_heads=2
    )


def _falcon_rw() -> PreTrainedConfig:
    """linear biases (ALiBi) and biases of Falcon-RW"""
    return FalconConfig(
        **ANY,
        max_position_embeddings=MAX_LENGTH,
        alibi=True,
        multi_query=False,
        parallel_attn=False,
        bias=True,
    )


def _bloom() -> PreTrainedConfig:
    """linear biases (ALiBi), norm of the embeddings"""
    return BloomConfig(**ANY, seq_length=MAX_LENGTH)


CONFIGS: dict[str, Callable[[], PreTrainedConfig]] = {
    "llama": _llama,
    "llama-3.1": _llama_31,
    "mistral": _mistral,
    "mixtral": _mixtral,
    "qwen2": _qwen2,
    "qwen2-moe": _qwen2_moe,
    "qwen3": _qwen3,
    "qwen3-moe": _qwen3_moe,
    "gemma2": _gemma2,
    "gemma3": _gemma3,
    "phi3": _phi3,
    "phi3-longrope": _phi3_long,
    "olmo2": _olmo2,
    "smollm3": _smollm3,
    "granite": _granite,
    "cohere": _cohere,
    "stablelm": _stablelm,
    "stablelm-parallel": _stablelm_parallel,
    "gpt-neox": _gpt_neox,
    "falcon": _falcon,
    "falcon-40b": _falcon_40b,
    "falcon-rw": _falcon_rw,
    "bloom": _bloom,
}
"""Variant → its configuration; ``MORE_CONFIGS`` are like it."""
