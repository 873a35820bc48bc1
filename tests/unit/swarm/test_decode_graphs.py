"""Ticks that are recorded and repeated compute what they do without; with a tape in the place of a GPU's graphs."""

import random
from collections.abc import Callable

import pytest
import torch
from transformers import PreTrainedConfig

from services.swarm import kernels
from services.swarm.family.anatomy import Anatomy
from services.swarm.family.block import DecoderBlock
from services.swarm.family.layer_inputs import LayerInputs
from services.swarm.serving import attention
from services.swarm.serving.decode_graphs import Record, Replay
from services.swarm.serving.groups import GROUP_TOKENS
from services.swarm.serving.packed import PackedSpan
from services.swarm.serving.pieces import Piece
from tests.unit.swarm.tape import Tapes
from tests.unit.swarm.test_packed import CONFIGS, CPU, HIDDEN, LAYERS, make

ROOM, TEXTS = 600, 6
ALL = range(LAYERS)


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "OPERATORS", None)


@pytest.fixture
def tapes() -> Tapes:
    return Tapes()


class Span:
    """Blocks with room for some texts, in which the same numbers are at first, whoever has made it."""

    def __init__(self, config: PreTrainedConfig, record: Record | None) -> None:
        model = make(config)
        anatomy = Anatomy.of(model.config)
        layers = getattr(model.base_model, anatomy.layers_name)
        self.inputs = LayerInputs(anatomy, model.dtype, CPU)
        self.blocks = [DecoderBlock(anatomy, index, layer, self.inputs) for index, layer in enumerate(layers)]
        size = (
            LAYERS,
            TEXTS * ROOM + GROUP_TOKENS,
            self.blocks[0].num_kv_heads,
            self.blocks[0].head_size,
        )
        numbers = torch.Generator().manual_seed(0)
        self.keys, self.values = (torch.randn(size, generator=numbers) for _ in ("keys", "values"))
        self.packed = PackedSpan(self.blocks, self.inputs, self.keys, self.values, record=record)

    def run(self, pieces: list[Piece], blocks: range = ALL) -> torch.Tensor:
        numbers = torch.Generator().manual_seed(len(pieces) + sum(piece.position for piece in pieces))
        hidden = torch.randn(sum(piece.tokens for piece in pieces), HIDDEN, generator=numbers)
        return self.packed.run(hidden, pieces, blocks)

    @property
    def somebody_s(self) -> torch.Tensor:
        """The keys and values of all texts, without the places that are nobody's."""
        return torch.stack([self.keys, self.values])[:, :, :-GROUP_TOKENS]


def tokens_at(*positions: int) -> list[Piece]:
    return [Piece(text * ROOM, position, 1) for text, position in enumerate(positions)]


def ticks() -> list[list[Piece]]:
    """Texts that come, grow and go, in any order; most ticks have single tokens only."""
    numbers = random.Random(0)
    chosen = []
    for tick in range(14):
        texts = numbers.sample(range(TEXTS), numbers.randint(1, TEXTS))
        most = 250 if tick % 2 else ROOM - 10
        prompt = 5 if tick % 7 == 3 else 1
        chosen.append([Piece(text * ROOM, numbers.randint(0, most), prompt) for text in texts])
    return chosen


@pytest.mark.parametrize("what", CONFIGS)
def test_they_compute_what_ticks_do_without_them(
    what: str, tapes: Tapes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(attention._COPIED_BYTES, "cpu", 1024**2)
    recorded, usual = Span(CONFIGS[what], tapes.record), Span(CONFIGS[what], None)

    for pieces in ticks():
        torch.testing.assert_close(recorded.run(pieces), usual.run(pieces), rtol=0, atol=1e-5)
        torch.testing.assert_close(recorded.somebody_s, usual.somebody_s, rtol=0, atol=1e-5)

    assert 2 <= tapes.recorded <= 6
    assert tapes.replayed > tapes.recorded + 5


def test_an_output_outlives_the_next_tick(tapes: Tapes) -> None:
    span = Span(CONFIGS["multipliers"], tapes.record)
    output = span.run(tokens_at(4))
    before = output.clone()

    span.run(tokens_at(5))

    assert output.equal(before)


def test_kinds_of_ticks_are_few_and_recorded_once(tapes: Tapes) -> None:
    span = Span(CONFIGS["multipliers"], tapes.record)

    for position in range(100, 200, 10):
        span.run(tokens_at(position))
        span.run(tokens_at(position, 0, 7))
        span.run(tokens_at(position, 0, 7, 3))
    assert tapes.recorded == 2

    span.run(tokens_at(255))
    assert tapes.recorded == 2
    span.run(tokens_at(256))
    assert tapes.recorded == 3


@pytest.mark.parametrize(
    ("pieces", "blocks"),
    [
        pytest.param([Piece(0, 9, 2), Piece(ROOM, 3, 1)], ALL, id="a prompt among them"),
        pytest.param(tokens_at(9, 3), range(1), id="some of the blocks"),
        pytest.param(tokens_at(520, 3), ALL, id="a text whose keys are not copied"),
        pytest.param(
            [Piece(place, 0, 1) for place in range(33)], ALL, id="more texts than there are graphs for"
        ),
    ],
)
def test_other_ticks_run_without(pieces: list[Piece], blocks: range, tapes: Tapes) -> None:
    recorded, usual = Span(CONFIGS["multipliers"], tapes.record), Span(CONFIGS["multipliers"], None)

    assert recorded.run(pieces, blocks).equal(usual.run(pieces, blocks))
    assert tapes.recorded == 0


def test_positions_that_are_not_looked_up_are_not_recorded(
    tapes: Tapes, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded, usual = Span(CONFIGS["multipliers"], tapes.record), Span(CONFIGS["multipliers"], None)
    monkeypatch.setattr(recorded.inputs._packed, "_by_position", False)

    assert recorded.run(tokens_at(9, 3)).equal(usual.run(tokens_at(9, 3)))
    assert tapes.recorded == 0


class Failing:
    """Records so that something is wrong with it from the second time on."""

    def __init__(self, tapes: Tapes, fail: Callable[[Replay], Replay]) -> None:
        self._tapes, self._fail = tapes, fail
        self.asked = 0

    def record(self, tick: Replay) -> Replay:
        self.asked += 1
        return self._tapes.record(tick) if self.asked == 1 else self._fail(tick)


def out_of_memory(_: Replay) -> Replay:
    raise torch.OutOfMemoryError("CUDA out of memory")


def something_else(tick: Replay) -> Replay:
    return lambda: tick() + 1


def fails_when_repeated(_: Replay) -> Replay:
    def replay() -> torch.Tensor:
        raise RuntimeError("CUDA error: an illegal instruction was encountered")

    return replay


def fails_when_repeated_often(tick: Replay) -> Replay:
    left = 2

    def replay() -> torch.Tensor:
        nonlocal left
        left -= 1
        if left < 0:
            raise RuntimeError("CUDA error: an illegal address was encountered")
        return tick()

    return replay


@pytest.mark.parametrize(
    ("fail", "said"),
    [
        (out_of_memory, "OutOfMemoryError('CUDA out of memory')"),
        (something_else, "RuntimeError('a replay computes something else')"),
        (fails_when_repeated, "RuntimeError('CUDA error: an illegal instruction was encountered')"),
        (fails_when_repeated_often, "RuntimeError('CUDA error: an illegal address was encountered')"),
    ],
)
def test_once_it_has_failed_all_ticks_run_without(
    fail: Callable[[Replay], Replay], said: str, tapes: Tapes, caplog: pytest.LogCaptureFixture
) -> None:
    failing = Failing(tapes, fail)
    recorded, usual = Span(CONFIGS["multipliers"], failing.record), Span(CONFIGS["multipliers"], None)

    for pieces in (tokens_at(4), tokens_at(5), tokens_at(9, 3), tokens_at(10, 4), tokens_at(6)):
        torch.testing.assert_close(recorded.run(pieces), usual.run(pieces), rtol=0, atol=1e-5)

    torch.testing.assert_close(recorded.somebody_s, usual.somebody_s, rtol=0, atol=1e-5)
    assert failing.asked == 2
    assert tapes.replayed == 3
    assert caplog.messages == [f"ticks run without CUDA graphs: {said}"]


def test_layers_that_ask_for_numbers_cannot_be_recorded(
    tapes: Tapes, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded, usual = Span(CONFIGS["multipliers"], tapes.record), Span(CONFIGS["multipliers"], None)
    for span in (recorded, usual):
        norm = span.blocks[1].layer.input_layernorm
        as_it_is = norm.forward

        def asking(hidden: torch.Tensor, as_it_is: Callable[..., torch.Tensor] = as_it_is) -> torch.Tensor:
            assert float(hidden.sum()) < 1e9
            return as_it_is(hidden)

        monkeypatch.setattr(norm, "forward", asking)

    for pieces in (tokens_at(4), tokens_at(5, 1)):
        assert recorded.run(pieces).equal(usual.run(pieces))

    assert "Python asks for a number" in caplog.text
    assert tapes.recorded == 0
