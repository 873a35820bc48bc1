"""A span of blocks that runs batches, without handlers and processes, and the whole model beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from services.common.settings import SwarmSettings
from services.swarm.adapters import find_adapters
from services.swarm.family.block import DecoderBlock
from services.swarm.family.layer_inputs import LayerInputs
from services.swarm.family.quantized import Quantization
from services.swarm.loading import load_block
from services.swarm.serving.arena import Arena, _Opened
from services.swarm.serving.pace import Pace
from services.swarm.serving.packed import PackedSpan
from services.swarm.serving.scheduler import Scheduler, Step
from services.swarm.spec import ModelSpec
from tests.unit.swarm.tiny_models import save_tiny_model
from tests.unit.swarm.tiny_sizes import BLOCKS

CPU = torch.device("cpu")
ARENA_TOKENS = 160
BUDGET = 12
ALL = range(BLOCKS)
HIDDEN = 64


class FakeMemory(Arena):
    """An arena whose sessions are opened and closed by the test, as handlers do from their processes."""

    def __init__(self) -> None:
        super().__init__(ARENA_TOKENS, 1, 0)
        self._pipe_recv, self._said = Pipe(duplex=False)

    def open(self, handle: int, rows: int, length: int) -> None:
        self._said.send((handle, _Opened(2 * BLOCKS, rows, length)))

    def close_session(self, handle: int) -> None:
        self._said.send((handle, None))


@dataclass
class Server:
    """A span with its arena and scheduler, and the whole model beside it."""

    whole: PreTrainedModel
    span: PackedSpan
    arena: FakeMemory
    scheduler: Scheduler

    def submit(self, session: int, hidden: torch.Tensor, position: int = 0, **more: Any) -> Step:
        step = Step(hidden, session, position, more.pop("blocks", ALL), **more)
        self.scheduler.submit(step)
        return step

    def finish(self) -> dict[Step, torch.Tensor | Exception]:
        ended: dict[Step, torch.Tensor | Exception] = {}
        while self.scheduler.waiting:
            ended.update(self.scheduler.tick())
        return ended

    def run_whole(self, hidden: torch.Tensor) -> torch.Tensor:
        for block in self.span._blocks:
            with torch.no_grad():
                (hidden,) = block(hidden)
        return hidden

    def embed(self, tokens: list[list[int]]) -> torch.Tensor:
        with torch.inference_mode():
            return self.whole.get_input_embeddings()(torch.tensor(tokens))

    def choose(self, hidden: torch.Tensor) -> list[int]:
        """Return each row's next greedy token after the blocks' output."""
        with torch.inference_mode():
            logits = self.whole.lm_head(self.whole.model.norm(hidden[:, -1:]))
        return [int(token) for token in logits[:, -1].argmax(-1)]


Parts = tuple[PreTrainedModel, list[DecoderBlock], LayerInputs]


def make_parts(
    folder: Path,
    variant: str,
    dtype: torch.dtype = torch.float32,
    quantization: Quantization = "none",
    adapters: Sequence[str] = (),
    *,
    prepacked: bool = True,
) -> Parts:
    """Return a tiny model, its blocks, and what prepares their inputs; adapters are looked for in the folder."""
    save_tiny_model(folder / "tiny" / "model", variant)
    settings = SwarmSettings.load(model="tiny/model", models_dir=folder, cache_dir=folder)
    spec = ModelSpec.find(settings)
    found = find_adapters(adapters, settings, spec.anatomy)
    inputs = LayerInputs(spec.anatomy, dtype, CPU)
    blocks = [
        load_block(
            spec.files,
            spec.anatomy,
            index,
            inputs,
            quantization=quantization,
            adapters=found,
            prepacked=prepacked,
        )
        for index in ALL
    ]
    return (
        AutoModelForCausalLM.from_pretrained(folder / "tiny" / "model", dtype=dtype),
        blocks,
        inputs,
    )


def make_server(parts: Parts) -> Server:
    whole, blocks, inputs = parts
    arena = FakeMemory()
    arena.lay_out(BLOCKS, blocks[0].num_kv_heads, blocks[0].head_size, torch.float32, CPU)
    span = PackedSpan(blocks, inputs, arena.keys, arena.values)
    return Server(whole, span, arena, Scheduler(arena, span, Pace(BUDGET, seconds=1.0)))
