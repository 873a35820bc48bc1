"""Many sessions in one batch: each gets what it would have got alone, whoever comes, goes or fails beside it."""

from collections import deque
from dataclasses import dataclass, field, replace
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, PreTrainedModel

from services.common.settings import SwarmSettings
from services.swarm.family.block import DecoderBlock
from services.swarm.family.layer_inputs import LayerInputs
from services.swarm.loading import load_block
from services.swarm.serving.arena import Arena, _Opened
from services.swarm.serving.packed import PackedSpan
from services.swarm.serving.packed_check import differs_in_batches
from services.swarm.serving.scheduler import Scheduler, SessionClosed, Step
from services.swarm.spec import ModelSpec
from tests.unit.swarm.tiny_models import BLOCKS, CONFIGS, VOCABULARY, save_tiny_model

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


@pytest.fixture(scope="module", params=CONFIGS)
def parts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Parts:
    folder: Path = tmp_path_factory.mktemp("scheduler")
    save_tiny_model(folder / "tiny" / "model", request.param)
    spec = ModelSpec.find(SwarmSettings.load(model="tiny/model", models_dir=folder, cache_dir=folder))
    inputs = LayerInputs(spec.anatomy, torch.float32, CPU)
    blocks = [
        load_block(spec.files, spec.anatomy, index, inputs, dtype=torch.float32, device=CPU) for index in ALL
    ]
    return (
        AutoModelForCausalLM.from_pretrained(folder / "tiny" / "model", dtype=torch.float32),
        blocks,
        inputs,
    )


def make_server(parts: Parts) -> Server:
    whole, blocks, inputs = parts
    arena = FakeMemory()
    arena.lay_out(BLOCKS, blocks[0].num_kv_heads, blocks[0].head_size, torch.float32, CPU)
    span = PackedSpan(blocks, inputs, arena.keys, arena.values)
    return Server(whole, span, arena, Scheduler(arena, span, BUDGET))


@pytest.fixture
def server(parts: Parts) -> Server:
    return make_server(parts)


@dataclass
class Text:
    """A session that continues a random prompt greedily.

    Attributes:
        arrives: at which tick.
        rows: how many texts it holds.
        prompt: tokens of each text that are given.
        new: tokens that it wants for each.
        patience: ticks after which it leaves, whatever it waits for; None if it stays.
    """

    arrives: int
    rows: int
    prompt: int
    new: int
    patience: int | None
    handle: int = 0
    position: int = 0
    tokens: list[list[int]] = field(default_factory=list)

    @property
    def size(self) -> int:
        return self.rows * (self.prompt + self.new)

    @property
    def made(self) -> int:
        return len(self.tokens[0]) - self.prompt if self.tokens else 0

    def open(self, server: Server, handle: int) -> None:
        numbers = torch.Generator().manual_seed(handle)
        self.handle = handle
        self.tokens = torch.randint(2, VOCABULARY, (self.rows, self.prompt), generator=numbers).tolist()
        server.arena.open(handle, self.rows, self.prompt + self.new)

    def ask(self, server: Server) -> Step:
        hidden = server.embed([row[self.position :] for row in self.tokens])
        step = server.submit(self.handle, hidden, self.position)
        self.position += hidden.shape[1]
        return step

    def wants_more_after(self, chosen: list[int]) -> bool:
        for row, token in zip(self.tokens, chosen, strict=True):
            row.append(token)
        return self.made < self.new

    def expected(self, whole: PreTrainedModel) -> list[list[int]]:
        start = torch.tensor([row[: self.prompt] for row in self.tokens])
        rows: list[list[int]] = whole.generate(
            start, do_sample=False, max_new_tokens=self.made, pad_token_id=0
        ).tolist()
        return rows


def live(server: Server, texts: list[Text]) -> None:
    """Let texts come, take turns and leave, until none is left; they wait outside as long as memory is short."""
    coming = deque(sorted(texts, key=lambda text: text.arrives))
    asked: dict[Step, Text] = {}
    used = tick = 0
    while coming or asked:
        while coming and coming[0].arrives <= tick and used + coming[0].size <= ARENA_TOKENS:
            text = coming.popleft()
            text.open(server, handle=100 * tick + len(coming))
            used += text.size
            asked[text.ask(server)] = text
        leaving = [text for text in asked.values() if text.patience == 0]
        for text in leaving:
            server.arena.close_session(text.handle)
        for step, outcome in server.scheduler.tick():
            text = asked.pop(step)
            if isinstance(outcome, Exception):
                assert isinstance(outcome, SessionClosed)
                assert text in leaving
            elif text.wants_more_after(server.choose(outcome)):
                asked[text.ask(server)] = text
                continue
            else:
                server.arena.close_session(text.handle)
            used -= text.size
        for text in asked.values():
            text.patience = None if text.patience is None else text.patience - 1
        tick += 1


TEXTS = st.lists(
    st.builds(
        Text,
        st.integers(0, 20),
        st.integers(1, 2),
        st.integers(1, 30),
        st.integers(1, 5),
        st.none() | st.integers(0, 6),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=10, deadline=None)
@given(TEXTS)
def test_each_text_is_that_of_plain_transformers_whatever_runs_beside_it(
    parts: Parts, texts: list[Text]
) -> None:
    texts = [replace(text, tokens=[]) for text in texts]
    server = make_server(parts)

    live(server, texts)

    for text in texts:
        if text.made:
            assert text.tokens == text.expected(server.whole)
    server.arena.catch_up()
    assert not any(server.arena.holds(text.handle) for text in texts)


def test_blocks_are_found_fit_for_batches(parts: Parts) -> None:
    _, blocks, inputs = parts

    assert differs_in_batches(blocks, inputs, torch.float32, CPU) is None


def test_a_short_prompt_and_tokens_pass_by_a_long_prompt(server: Server) -> None:
    for handle, length in ((0, 60), (100, 10), (200, 10)):
        server.arena.open(handle, 1, length)
    server.submit(0, torch.randn(1, 1, HIDDEN))
    server.finish()
    long = server.submit(0, torch.randn(1, 50, HIDDEN), 1)
    server.scheduler.tick()

    short = server.submit(100, torch.randn(1, 5, HIDDEN))
    token = server.submit(200, torch.randn(1, 1, HIDDEN))

    assert {step for step, _ in server.scheduler.tick()} == {short, token}
    assert set(server.finish()) == {long}


def test_a_step_that_cannot_run_fails_alone(server: Server) -> None:
    for handle in (0, 100, 200):
        server.arena.open(handle, 1, 5)
    hidden = torch.randn(1, 3, HIDDEN)
    good = server.submit(0, hidden)
    wide = server.submit(100, torch.randn(1, 3, HIDDEN + 1))
    many_rows = server.submit(200, torch.randn(2, 3, HIDDEN))

    ended = server.finish()

    torch.testing.assert_close(ended[good], server.run_whole(hidden), rtol=0, atol=1e-4)
    assert isinstance(ended[wide], RuntimeError)
    assert str(ended[many_rows]) == "a session of 1 rows cannot run 2"


def test_steps_that_run_alone_take_their_turn_beside_batches(server: Server) -> None:
    server.arena.open(0, 1, 60)
    server.arena.open(100, 1, 5)
    long = server.submit(0, torch.randn(1, 60, HIDDEN))
    alone = server.submit(100, torch.randn(1, 1, HIDDEN), alone=lambda: torch.ones(1))

    server.scheduler.tick()

    assert server.scheduler.tick() == [(alone, torch.ones(1))]
    assert set(server.finish()) == {long}


def test_sessions_may_use_some_of_the_blocks(server: Server) -> None:
    server.arena.open(0, 1, 8)
    server.arena.open(100, 1, 8)
    hidden = torch.randn(1, 8, HIDDEN)
    middle = server.submit(0, hidden, blocks=range(1, 3))
    whole = server.submit(100, hidden)

    ended = server.finish()

    assert set(ended) == {middle, whole}
    with torch.no_grad():
        (expected,) = server.span._blocks[2](server.span._blocks[1](hidden)[0])
    torch.testing.assert_close(ended[middle], expected, rtol=0, atol=1e-4)


def test_beams_and_batches_work_on_the_same_memory(server: Server) -> None:
    """What one path has written, the other reads: through views of the same arena."""
    server.arena.open(0, 2, 12)
    hidden = torch.randn(2, 12, HIDDEN)
    server.submit(0, hidden[:, :8])
    server.finish()

    last = hidden[:, 8:]
    with torch.inference_mode():
        for number, block in enumerate(server.span._blocks):
            with server.arena.use_cache(2 * number, 2 * number + 1) as (keys, values):
                last = block.step(last, keys, values, 8)

    torch.testing.assert_close(last, server.run_whole(hidden)[:, 8:], rtol=0, atol=1e-4)
