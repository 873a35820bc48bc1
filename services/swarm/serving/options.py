"""How a span of blocks is served."""

from dataclasses import dataclass

import torch

from services.swarm.adapters import Adapter
from services.swarm.family.quantized import Quantization


@dataclass(frozen=True)
class SpanOptions:
    """How a span is served; see ``services.common.settings.server`` for the meaning of each."""

    device: torch.device
    dtype: torch.dtype
    quantization: Quantization
    adapters: tuple[Adapter, ...]
    attn_cache_tokens: int
    max_session_tokens: int
    prefill_chunk_tokens: int
    batched: bool
    batch_tokens: int
    batch_seconds: float
    batch_invariant: bool
    cuda_graphs: bool
    num_handlers: int
    announce_period: float
    throughput: float
    public_name: str | None
    announced_host: str | None = None
