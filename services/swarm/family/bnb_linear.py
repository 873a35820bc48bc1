"""Linear layers of bitsandbytes: weights of 4 bits (NF4, of QLoRA), and of 8 bits on a GPU (LLM.int8).

They are what transformers makes of a model with ``BitsAndBytesConfig``, and stock Petals of its blocks.
"""

from typing import Any

import torch
from bitsandbytes.nn.modules import Int8Params, Linear4bit, Linear8bitLt, Params4bit
from torch import nn

_BLOCK = 64
"""So many weights share a scale; bitsandbytes' default."""
_SCALES_BLOCK = 256
"""So many scales, of 8 bits each, share another one in float32."""
_TABLES = 4 * (16 + 256) + 4
"""Bytes of what the numbers of weights and of scales stand for, and the scales' offset."""
_OUTLIER = 6.0
"""Inputs at least as large are multiplied in 16 bits, as in the paper of LLM.int8."""


def nf4_linear(linear: nn.Linear) -> nn.Linear:
    """Return a layer with the same weights in 4 bits, on the same device."""
    dtype = linear.weight.dtype
    made = Linear4bit(*_size(linear), compute_dtype=dtype, quant_type="nf4", device="meta")
    weight: Any = Params4bit(
        linear.weight.detach(), quant_type="nf4", compress_statistics=True, blocksize=_BLOCK, module=made
    )
    made.weight = weight.to(linear.weight.device)
    made.bias = linear.bias
    # On CPUs that know AVX512-BF16 the first step would rearrange the weights for a kernel that takes only sizes that
    # are multiples of 32, computes in bfloat16 whatever was asked for, and lets no gradient through ever after
    made.support_avx512bf16_for_cpu = False
    return made


def nf4_bytes(linear: nn.Linear, dtype: torch.dtype) -> int:
    """Return how many bytes the weights of such a layer take, without its biases."""
    weights = linear.weight.numel()
    scales = -(-weights // _BLOCK)
    return -(-weights // 2) + scales + 4 * -(-scales // _SCALES_BLOCK) + _TABLES


def llm_int8_linear(linear: nn.Linear) -> nn.Linear:
    """Return a layer with the same weights in 8 bits, on the same device; inputs are rounded to 8 bits too."""
    made = Linear8bitLt(*_size(linear), has_fp16_weights=False, threshold=_OUTLIER, device="meta")
    weight: Any = Int8Params(linear.weight.detach().cpu(), requires_grad=False, has_fp16_weights=False)
    made.weight = weight.to(linear.weight.device)
    made.bias = linear.bias
    return made


def llm_int8_bytes(linear: nn.Linear, dtype: torch.dtype) -> int:
    """Return how many bytes the weights of such a layer take, without its biases."""
    return linear.weight.numel() + 4 * linear.out_features


def _size(linear: nn.Linear) -> tuple[int, int, bool]:
    return linear.in_features, linear.out_features, linear.bias is not None
