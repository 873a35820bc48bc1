"""Blocks behind Petals' runtime: sessions, chunks, beams, gradients, and the bytes that tasks travel as."""

from pathlib import Path

import pytest
import torch
from petals.data_structures import InferenceMetadata
from petals.utils.misc import DUMMY_INT64

from services.common.settings import SwarmSettings
from services.swarm.family.layer_inputs import LayerInputs
from services.swarm.loading import load_block
from services.swarm.serving.backend import BlockBackend, merge_inference_pools
from services.swarm.serving.channels import Channels
from services.swarm.serving.pool import _pack, _unpack
from services.swarm.serving.usage import Usage
from services.swarm.spec import ModelSpec
from tests.unit.swarm.served import FakeMemory
from tests.unit.swarm.tiny_models import save_tiny_model

CPU = torch.device("cpu")
ROWS, TOKENS, HIDDEN = 3, 50, 64
TOLERANCE = {"rtol": 0, "atol": 1e-4}


@pytest.fixture(scope="module")
def memory() -> FakeMemory:
    return FakeMemory()


@pytest.fixture(scope="module")
def backends(memory: FakeMemory, tmp_path_factory: pytest.TempPathFactory) -> dict[str, BlockBackend]:
    folder: Path = tmp_path_factory.mktemp("backend")
    save_tiny_model(folder / "tiny" / "model", "llama-3.1")
    spec = ModelSpec.find(SwarmSettings.load(model="tiny/model", models_dir=folder, cache_dir=folder))
    inputs = LayerInputs(spec.anatomy, torch.float32, CPU)
    return {
        spec.uid(index): BlockBackend(
            spec.uid(index),
            load_block(spec.files, spec.anatomy, index, inputs),
            channels=Channels(0),
            dtype=torch.float32,
            device=CPU,
            memory_cache=memory,
            prefill_chunk_tokens=16,
            max_task_tokens=1024,
        )
        for index in range(2)
    }


@pytest.fixture
def hidden() -> torch.Tensor:
    return torch.randn(ROWS, TOKENS, HIDDEN, generator=torch.Generator().manual_seed(0))


class Session:
    """Steps through all backends, as a connection handler makes the runtime do."""

    def __init__(self, backends: dict[str, BlockBackend], memory: FakeMemory, rows: int) -> None:
        self._backends = backends
        self._handles = {uid: memory.allocate(backend, rows, TOKENS) for uid, backend in backends.items()}
        self._position = 0

    def step(self, hidden: torch.Tensor, hypo_ids: torch.Tensor = DUMMY_INT64) -> torch.Tensor:
        position, self._position = self._position, self._position + hidden.shape[1]
        for uid, backend in self._backends.items():
            about = InferenceMetadata(uid, position, self._handles[uid], None)
            (hidden,) = backend.inference_step(hidden, hypo_ids, about)
        return hidden


def run_whole(backends: dict[str, BlockBackend], hidden: torch.Tensor) -> torch.Tensor:
    for backend in backends.values():
        (hidden,) = backend.forward(hidden, "")
    return hidden


def test_a_long_prompt_passes_in_chunks_and_changes_nothing(
    backends: dict[str, BlockBackend], memory: FakeMemory, hidden: torch.Tensor
) -> None:
    session = Session(backends, memory, ROWS)

    torch.testing.assert_close(session.step(hidden), run_whole(backends, hidden), **TOLERANCE)


def test_beams_continue_the_rows_that_they_name(
    backends: dict[str, BlockBackend], memory: FakeMemory, hidden: torch.Tensor
) -> None:
    rows = torch.tensor([2, 0, 0])
    reordered = torch.cat([hidden[rows, :40], hidden[:, 40:]], dim=1)
    session = Session(backends, memory, ROWS)
    session.step(hidden[:, :40])

    output = session.step(hidden[:, 40:], rows)

    expected = run_whole(backends, reordered)[:, 40:]
    torch.testing.assert_close(output, expected, **TOLERANCE)
    assert not torch.allclose(output, run_whole(backends, hidden)[:, 40:], atol=1e-2)


def test_merged_pools_run_a_task_through_all_blocks_with_their_prompts(
    backends: dict[str, BlockBackend], memory: FakeMemory, hidden: torch.Tensor
) -> None:
    first, second = backends
    prompts = [torch.ones(ROWS, 2, HIDDEN), None]
    infos = [
        InferenceMetadata(uid, 0, memory.allocate(backend, ROWS, TOKENS), None)
        for uid, backend in backends.items()
    ]
    usage = Usage(len(backends))
    merge_inference_pools(backends, usage)
    assert backends[first].inference_pool is backends[second].inference_pool

    (output,) = backends[first].inference_pool.process_func(hidden.clone(), DUMMY_INT64, infos, *prompts)

    prompted = hidden.clone()
    prompted[:, :2] += 1
    torch.testing.assert_close(output, run_whole(backends, prompted), **TOLERANCE)
    assert (usage.tokens, usage.batches) == (ROWS * TOKENS, 1)


def test_backward_returns_the_gradient_of_the_inputs(
    backends: dict[str, BlockBackend], hidden: torch.Tensor
) -> None:
    backend = next(iter(backends.values()))
    direction = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(1))

    (gradient,) = backend.backward(hidden, direction, "")

    inputs = hidden.clone().requires_grad_()
    (output,) = backend.block(inputs)
    output.backward(direction)
    torch.testing.assert_close(gradient, inputs.grad, **TOLERANCE)


def test_a_cache_takes_the_bytes_that_are_counted_for_it(backends: dict[str, BlockBackend]) -> None:
    backend = next(iter(backends.values()))
    described = backend.get_inference_cache_descriptors(2, 10)

    taken = sum(descriptor.numel() * descriptor.dtype.itemsize for descriptor in described)
    assert backend.cache_bytes_per_token[CPU] * 2 * 10 == taken


@pytest.mark.parametrize(
    "tensor",
    [
        torch.randn(2, 3, 4),
        torch.randn(2, 3, 4).to(torch.bfloat16),
        torch.randn(2, 3, 4, dtype=torch.float16),
        torch.arange(5),
        torch.tensor(7),
        torch.tensor([True, False]),
        torch.empty(0),
        torch.empty(0, 3, dtype=torch.int64),
        torch.randn(4, 6).t()[::2],
        torch.randn(3, requires_grad=True),
    ],
)
def test_tensors_arrive_as_they_were_sent(tensor: torch.Tensor) -> None:
    arrived = _unpack(_pack(tensor))

    torch.testing.assert_close(arrived, tensor.detach(), rtol=0, atol=0)
    assert not arrived.requires_grad


@pytest.mark.parametrize("value", [None, "", 3.5, (1, 2)])
def test_other_arguments_pass_unchanged(value: object) -> None:
    assert _unpack(_pack(value)) is value
