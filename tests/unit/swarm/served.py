"""A model served in this process as a swarm serves it: spans of blocks behind Petals' backends, ends around them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from petals.data_structures import InferenceMetadata
from petals.utils.misc import DUMMY_INT64
from torch import nn
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from services.swarm.family.layer_inputs import LayerInputs
from services.swarm.loading import load_block, load_ends
from services.swarm.serving.backend import BlockBackend, merge_inference_pools
from services.swarm.serving.channels import Channels
from services.swarm.serving.usage import Usage
from services.swarm.spec import ModelSpec

CPU = torch.device("cpu")


class FakeMemory:
    """Holds the tensors of sessions under the handles 0, 1, …, as Petals' accounting does in a server."""

    def __init__(self) -> None:
        self.tensors: list[torch.Tensor] = []

    def allocate(self, backend: BlockBackend, rows: int, length: int) -> tuple[int, ...]:
        """Make a session's tensors for one block; return their handles."""
        described = backend.get_inference_cache_descriptors(rows, length)
        self.tensors += [descriptor.make_zeros() for descriptor in described]
        return tuple(range(len(self.tensors) - len(described), len(self.tensors)))

    @contextmanager
    def use_cache(self, *handles: int) -> Iterator[list[torch.Tensor]]:
        """Lend the tensors under these handles."""
        yield [self.tensors[handle] for handle in handles]


class Span:
    """Some consecutive blocks, as one server holds them."""

    def __init__(self, spec: ModelSpec, blocks: range, prefill_chunk_tokens: int) -> None:
        self.memory = FakeMemory()
        inputs = LayerInputs(spec.anatomy, torch.float32, CPU)
        self.backends = {
            spec.uid(index): BlockBackend(
                spec.uid(index),
                load_block(spec.files, spec.anatomy, index, inputs),
                channels=Channels(0),
                dtype=torch.float32,
                device=CPU,
                memory_cache=self.memory,
                prefill_chunk_tokens=prefill_chunk_tokens,
                max_task_tokens=4096,
            )
            for index in blocks
        }
        merge_inference_pools(self.backends, Usage(len(blocks)))
        self._step = next(iter(self.backends.values())).inference_pool.process_func

    def open(self, rows: int, length: int) -> list[tuple[int, ...]]:
        """Return the handles of a new session's caches, block by block."""
        return [self.memory.allocate(backend, rows, length) for backend in self.backends.values()]

    def step(
        self, hidden: torch.Tensor, hypo_ids: torch.Tensor, position: int, handles: Sequence[tuple[int, ...]]
    ) -> torch.Tensor:
        """Run a session's next tokens through all blocks."""
        infos = [
            InferenceMetadata(uid, position, own, None)
            for uid, own in zip(self.backends, handles, strict=True)
        ]
        output: torch.Tensor = self._step(hidden, hypo_ids, infos, *([None] * len(infos)))[0]
        return output


class ServedSession(Cache):
    """What the ends take for a cache: sessions of one text, or some, on all spans."""

    def __init__(self, spans: Sequence[Span], rows: int, length: int) -> None:
        super().__init__(layers=[])
        self.position = 0
        self._open = [(span, span.open(rows, length)) for span in spans]
        self._rows = DUMMY_INT64

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return how many tokens the spans hold."""
        return self.position

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        """Return the length and offset of the keys that a query sees."""
        return self.position + query_length, 0

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Remember for the next step which row each row continues."""
        self._rows = beam_idx.to(torch.int64)

    def step(self, hidden: torch.Tensor) -> torch.Tensor:
        """Run the next tokens through all spans."""
        rows, self._rows = self._rows, DUMMY_INT64
        for span, handles in self._open:
            hidden = span.step(hidden, rows, self.position, handles)
        self.position += hidden.shape[1]
        return hidden


class _SpansAsLayers(nn.Module):
    def forward(self, hidden: torch.Tensor, past_key_values: ServedSession, **_: Any) -> torch.Tensor:
        return past_key_values.step(hidden)


def served_ends(spec: ModelSpec) -> PreTrainedModel:
    """Return the model with whatever ``ServedSession`` it is given in the place of its layers."""
    return load_ends(spec.files, spec.anatomy, dtype=torch.float32, middle=_SpansAsLayers())
