"""Single blocks and ends, loaded alone, are the parts of the whole model: outputs, caches, batches, gradients."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from services.common.errors import Broken
from services.common.settings import SwarmSettings
from services.swarm.family.block import DecoderBlock
from services.swarm.family.layer_inputs import LayerInputs
from services.swarm.family.quantized import Quantization
from services.swarm.files import SINGLE
from services.swarm.loading import block_bytes, load_block, load_ends
from services.swarm.spec import ModelSpec
from tests.unit.swarm.tiny_configs import CONFIGS
from tests.unit.swarm.tiny_models import save_tiny_model
from tests.unit.swarm.tiny_sizes import BLOCKS, VOCABULARY

CPU = torch.device("cpu")
BATCH, TOKENS = 3, 90
TOLERANCE = {"rtol": 0, "atol": 1e-4}


@pytest.fixture(scope="module", params=CONFIGS)
def spec(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    folder = tmp_path_factory.mktemp("blocks")
    save_tiny_model(folder / "tiny" / "model", request.param)
    return ModelSpec.find(SwarmSettings.load(model="tiny/model", models_dir=folder, cache_dir=folder))


@pytest.fixture(scope="module")
def whole(spec: ModelSpec) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(spec.files.folder, dtype=torch.float32).eval()


def load(spec: ModelSpec, index: int, quantization: Quantization = "none") -> DecoderBlock:
    inputs = LayerInputs(spec.anatomy, torch.float32, CPU)
    return load_block(spec.files, spec.anatomy, index, inputs, quantization=quantization)


@pytest.fixture(scope="module")
def blocks(spec: ModelSpec) -> list[DecoderBlock]:
    return [load(spec, index) for index in range(spec.num_blocks)]


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randint(2, VOCABULARY, (BATCH, TOKENS), generator=torch.Generator().manual_seed(0))


class Caches:
    """Keys and values of some rows for every block, as a server keeps them for a session."""

    def __init__(self, blocks: list[DecoderBlock], rows: int, length: int = TOKENS) -> None:
        self.position = 0
        self._blocks = blocks
        self.tensors = [
            tuple(torch.zeros(rows, block.num_kv_heads, length, block.head_size) for _ in ("keys", "values"))
            for block in blocks
        ]

    def step(self, hidden: torch.Tensor) -> torch.Tensor:
        """Run the next tokens through all blocks."""
        length = hidden.shape[1]
        with torch.inference_mode():
            for block, (keys, values) in zip(self._blocks, self.tensors, strict=True):
                hidden = block.step(hidden, keys, values, self.position)
        self.position += length
        return hidden


@contextmanager
def watched(whole: PreTrainedModel) -> Iterator[dict[str, torch.Tensor]]:
    """Keep what goes into the first layer of a whole model and what comes out of its last one."""
    seen: dict[str, torch.Tensor] = {}
    (layers,) = (one for one in whole.base_model.children() if isinstance(one, nn.ModuleList))

    def keep(_: nn.Module, __: object, output: torch.Tensor | tuple[torch.Tensor, ...]) -> None:
        seen["out of"] = output[0] if isinstance(output, tuple) else output

    hooks = [
        layers[0].register_forward_pre_hook(lambda _, inputs: seen.update(into=inputs[0])),
        layers[-1].register_forward_hook(keep),
    ]
    yield seen
    for hook in hooks:
        hook.remove()


def run_whole(whole: PreTrainedModel, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what goes into the first layer, and what comes out of the last one."""
    with torch.no_grad(), watched(whole) as seen:
        whole(tokens)
    return seen["into"], seen["out of"]


def test_blocks_alone_give_what_the_whole_model_gives(
    blocks: list[DecoderBlock], whole: PreTrainedModel, tokens: torch.Tensor
) -> None:
    hidden, expected = run_whole(whole, tokens)
    with torch.inference_mode():
        for block in blocks:
            (hidden,) = block(hidden)

    torch.testing.assert_close(hidden, expected, **TOLERANCE)


@pytest.mark.parametrize("parts", [[TOKENS], [1] * TOKENS, [64, 1, 1, 24], [1, 89]])
def test_steps_of_any_length_give_what_one_pass_gives(
    blocks: list[DecoderBlock], whole: PreTrainedModel, tokens: torch.Tensor, parts: list[int]
) -> None:
    hidden, expected = run_whole(whole, tokens)
    caches = Caches(blocks, BATCH)

    output = torch.cat([caches.step(part) for part in hidden.split(parts, dim=1)], dim=1)

    torch.testing.assert_close(output, expected, **TOLERANCE)


def test_sessions_in_turns_do_not_disturb_each_other(
    blocks: list[DecoderBlock], whole: PreTrainedModel, tokens: torch.Tensor
) -> None:
    hidden, expected = run_whole(whole, tokens)
    sessions = [Caches(blocks, 1) for _ in range(BATCH)]
    outputs: list[list[torch.Tensor]] = [[] for _ in range(BATCH)]
    for part in hidden.split(30, dim=1):
        for row, session in enumerate(sessions):
            outputs[row].append(session.step(part[row : row + 1]))

    torch.testing.assert_close(torch.cat([torch.cat(o, dim=1) for o in outputs]), expected, **TOLERANCE)


def test_a_session_may_go_back_and_take_another_way(
    blocks: list[DecoderBlock], whole: PreTrainedModel, tokens: torch.Tensor
) -> None:
    hidden, expected = run_whole(whole, tokens)
    caches = Caches(blocks, BATCH)
    caches.step(hidden)

    caches.position = 40
    output = caches.step(hidden[:, 40:])

    torch.testing.assert_close(output, expected[:, 40:], **TOLERANCE)


def test_gradients_of_the_inputs_are_those_of_the_whole_model(
    blocks: list[DecoderBlock], whole: PreTrainedModel, tokens: torch.Tensor
) -> None:
    with watched(whole) as seen:
        whole(tokens)
    direction = torch.randn(seen["out of"].shape, generator=torch.Generator().manual_seed(1))
    (expected,) = torch.autograd.grad(seen["out of"], seen["into"], direction)

    hidden = inputs = seen["into"].detach().requires_grad_()
    for block in blocks:
        (hidden,) = block(hidden)
    (gradient,) = torch.autograd.grad(hidden, inputs, direction)

    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-4)
    assert all(parameter.grad is None for block in blocks for parameter in block.parameters())


class _Blocks(nn.Module):
    """All blocks in the place of the layers."""

    def __init__(self, blocks: list[DecoderBlock]) -> None:
        super().__init__()
        self.blocks = blocks

    def forward(self, hidden: torch.Tensor, **_: object) -> torch.Tensor:
        for block in self.blocks:
            (hidden,) = block(hidden)
        return hidden


def test_ends_around_blocks_give_the_logits_of_the_whole_model(
    spec: ModelSpec, blocks: list[DecoderBlock], whole: PreTrainedModel, tokens: torch.Tensor
) -> None:
    ends = load_ends(spec.files, spec.anatomy, dtype=torch.float32, middle=_Blocks(blocks))

    with torch.inference_mode():
        torch.testing.assert_close(ends(tokens, use_cache=False).logits, whole(tokens).logits, **TOLERANCE)
    assert ends.num_parameters() < whole.num_parameters() / 2


def test_a_block_takes_the_bytes_that_are_counted_for_it(spec: ModelSpec, blocks: list[DecoderBlock]) -> None:
    taken = max(sum(parameter.nbytes for parameter in block.parameters()) for block in blocks)

    assert block_bytes(spec.anatomy, torch.float32, CPU) == taken
    assert block_bytes(spec.anatomy, torch.bfloat16, CPU) == taken // 2


def test_a_quantized_block_takes_the_bytes_that_are_counted_for_it(spec: ModelSpec) -> None:
    blocks = [load(spec, index, "int8") for index in range(spec.num_blocks)]

    taken = max(sum(parameter.nbytes for parameter in block.parameters()) for block in blocks)

    assert block_bytes(spec.anatomy, torch.float32, CPU, "int8") == taken


def test_every_block_has_weights_of_its_own(blocks: list[DecoderBlock]) -> None:
    largest = [max(block.parameters(), key=torch.Tensor.numel) for block in blocks]

    assert len({float(weight.to_dense().flatten()[0]) for weight in largest}) == BLOCKS


def change(config: Path, old: str, new: str) -> None:
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new))


def load_one(models: Path, index: int) -> DecoderBlock:
    return load(
        ModelSpec.find(SwarmSettings.load(model="tiny/model", models_dir=models, cache_dir=models)), index
    )


@pytest.mark.parametrize(
    ("block", "old", "new"),
    [
        (4, '"num_hidden_layers": 4', '"num_hidden_layers": 5'),
        (0, '"intermediate_size": 96', '"intermediate_size": 80'),
    ],
)
def test_weights_of_a_block_that_are_not_there_or_do_not_fit(
    tmp_path: Path, block: int, old: str, new: str
) -> None:
    change(save_tiny_model(tmp_path / "tiny" / "model", "llama") / "config.json", old, new)

    with pytest.raises(Broken, match=f"block {block} of tiny/model are missing or of another shape: layers"):
        load_one(tmp_path, block)


def test_experts_that_do_not_fit_together(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "tiny" / "model", "mixtral", max_shard_size="1GB")
    weights = load_file(folder / SINGLE)
    del weights["model.layers.1.block_sparse_moe.experts.2.w1.weight"]
    save_file(weights, folder / SINGLE, {"format": "pt"})

    with pytest.raises(Broken, match="weights of block 1 of tiny/model cannot be loaded: "):
        load_one(tmp_path, 1)
