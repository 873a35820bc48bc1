"""Runs one block for Petals' runtime: inference steps over a session's cache, forward and backward."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from hivemind.moe.server.module_backend import ModuleBackend
from hivemind.utils.tensor_descr import BatchTensorDescriptor, TensorDescriptor
from petals.data_structures import InferenceMetadata
from petals.server.backend import TransformerBackend, _MergedInferenceStep
from petals.server.memory_cache import MemoryCache
from petals.utils.misc import is_dummy

from services.swarm.client.capabilities import START_FROM_POSITION
from services.swarm.family.block import DecoderBlock, cache_bytes_per_token
from services.swarm.serving.channels import Channels
from services.swarm.serving.pool import BytesTaskPool
from services.swarm.serving.usage import Usage
from services.swarm.witness import ANNOUNCED_HOST

_SCHEMA_TOKENS = 2048
"""Petals announces a tensor of this many tokens as an example; only its type and width are read."""


class BlockBackend(TransformerBackend):
    """Petals' backend around a ``DecoderBlock``.

    Petals' own constructor and cache layout assume its wrapped blocks of 2023 (tensor_parallel, head sizes derived
    from the hidden size), so both are replaced; pools, handlers and protocol see no difference.

    Args:
        uid: the block's key in the DHT, such as ``prefix.7``.
        block: the layer with its weights.
        dtype: type of weights, activations and cache.
        device: where the block runs.
        memory_cache: Petals' accounting of all sessions' caches.
        channels: between handlers and the runtime.
        prefill_chunk_tokens: the most tokens that pass through the block at once.
        max_task_tokens: the most tokens that one task may bring.
    """

    announced_host: str | None = None
    """The address that this server is reached at, for those who ask where it is."""

    def __init__(
        self,
        uid: str,
        block: DecoderBlock,
        *,
        dtype: torch.dtype,
        device: torch.device,
        memory_cache: MemoryCache,
        channels: Channels,
        prefill_chunk_tokens: int,
        max_task_tokens: int,
    ) -> None:
        hidden = BatchTensorDescriptor(1, _SCHEMA_TOKENS, block.config.hidden_size, dtype=dtype)
        ModuleBackend.__init__(
            self,
            uid,
            block,
            args_schema=(hidden,),
            kwargs_schema={},
            outputs_schema=(hidden,),
            max_batch_size=max_task_tokens,
        )
        self.block, self.dtype, self.device, self.memory_cache = block, dtype, device, memory_cache
        self.channels = channels
        self.prefill_chunk_tokens = prefill_chunk_tokens
        self.inference_pool = self._pool(self.inference_step, max_task_tokens, "inference")
        self.forward_pool = self._pool(self.forward, max_task_tokens, "forward")
        self.backward_pool = self._pool(self.backward, max_task_tokens, "backward")
        self.inference_schema: Any = (
            (hidden, BatchTensorDescriptor((), dtype=dtype), BatchTensorDescriptor((), dtype=torch.int64)),
            {},
        )
        self.cache_bytes_per_token = {device: cache_bytes_per_token(block.anatomy, dtype)}

    def _pool(self, function: Callable[..., Sequence[Any]], max_task_tokens: int, name: str) -> BytesTaskPool:
        return BytesTaskPool(
            self.channels,
            function,
            max_batch_size=max_task_tokens,
            device=self.device,
            name=f"{self.name}_{name}",
        )

    def get_info(self) -> dict[str, Any]:
        """Describe the block to clients that ask by ``rpc_info``; stock ones look at what they know."""
        own = {START_FROM_POSITION: True, ANNOUNCED_HOST: self.announced_host}
        return {**super().get_info(), **own}

    def get_inference_cache_descriptors(self, batch_size: int, max_length: int) -> Sequence[TensorDescriptor]:
        """Describe a session's keys and values, each [batch, kv heads, max length, head size]."""
        shape = (batch_size, self.block.num_kv_heads, max_length, self.block.head_size)
        return [TensorDescriptor(shape, dtype=self.dtype, device=self.device) for _ in ("keys", "values")]

    def forward(self, *inputs: torch.Tensor | str) -> tuple[torch.Tensor, ...]:
        """Run whole sequences; the last input names a LoRA adapter, and is empty for none."""
        *tensors, adapter = inputs
        self.block.adapters.choose(str(adapter))
        return ModuleBackend.forward(self, *tensors)

    def backward(self, *inputs: torch.Tensor | str) -> tuple[torch.Tensor, ...]:
        """Return gradients of the inputs; the last input names a LoRA adapter, and is empty for none."""
        *tensors, adapter = inputs
        self.block.adapters.choose(str(adapter))
        return ModuleBackend.backward(self, *tensors)

    @torch.inference_mode()
    def inference_step(
        self, hidden_states: torch.Tensor, hypo_ids: torch.Tensor, inference_info: InferenceMetadata
    ) -> tuple[torch.Tensor, ...]:
        """Run the next tokens [batch, tokens, hidden] of a session, in chunks if there are many.

        ``hypo_ids`` reorders the session's rows first, as beam search needs it.
        """
        self.block.adapters.choose(inference_info.active_adapter or "")
        with self.memory_cache.use_cache(*inference_info.cache_handles) as (keys, values):
            self._reorder_cache_inplace((keys, values), hypo_ids)
            position = inference_info.prefix_length
            outputs = []
            for chunk in hidden_states.split(self.prefill_chunk_tokens, dim=1):
                outputs.append(self.block.step(chunk, keys, values, position))
                position += chunk.shape[1]
            return (outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1),)

    def _reorder_cache_inplace(self, cache_tensors: Sequence[torch.Tensor], hypo_ids: torch.Tensor) -> None:
        if not is_dummy(hypo_ids):
            for tensor in cache_tensors:
                tensor[...] = tensor[hypo_ids.to(tensor.device)]


def merge_inference_pools(backends: Mapping[str, BlockBackend], usage: Usage) -> None:
    """Give all blocks one inference pool, whose tasks run through several blocks in one call and are counted.

    Petals' function of this name makes its own kind of pool.
    """
    first = next(iter(backends.values()))
    merged = BytesTaskPool(
        first.channels,
        usage.counting(_MergedInferenceStep(backends)),
        max_batch_size=first.inference_pool.max_batch_size,
        device=first.device,
        name="merged_inference",
    )
    for backend in backends.values():
        backend.inference_pool = merged


@torch.inference_mode()
def warm_up(backends: Sequence[BlockBackend]) -> None:
    """Run a prompt and a token, so that no session pays for the kernels that libraries prepare at first use."""
    first = backends[0]
    for tokens in (16, 1):
        hidden = torch.zeros(
            1, tokens, first.block.config.hidden_size, dtype=first.dtype, device=first.device
        )
        for backend in backends:
            shapes = backend.get_inference_cache_descriptors(batch_size=1, max_length=tokens)
            keys, values = (shape.make_zeros() for shape in shapes)
            hidden = backend.block.step(hidden, keys, values, 0)
