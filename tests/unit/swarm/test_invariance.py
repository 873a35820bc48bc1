"""A session's numbers, to the last bit, whoever runs beside it."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from services.swarm.client.ends import Ends, ToRead
from services.swarm.serving.groups import GROUP_TOKENS, groups
from services.swarm.serving.pace import Pace
from services.swarm.serving.packed import PackedSpan
from services.swarm.serving.packed_check import differs_in_batches
from services.swarm.serving.pieces import Piece
from services.swarm.serving.scheduler import Scheduler
from tests.unit.swarm.batch_server import (
    ALL,
    ARENA_TOKENS,
    CPU,
    HIDDEN,
    FakeMemory,
    Server,
    make_parts,
)

BUDGET = 40
LENGTHS = st.lists(st.integers(1, 40), min_size=0, max_size=5)


@given(st.lists(st.integers(1, 70), min_size=1, max_size=12))
def test_groups_hold_every_token_once_and_those_of_a_text_in_order(lengths: list[int]) -> None:
    pieces = [Piece(100 * number, 7, tokens) for number, tokens in enumerate(lengths)]

    made = list(groups(pieces))

    assert [row for group in made for row in group.rows] == list(range(sum(lengths)))
    for group in made:
        assert sum(piece.tokens for piece in group.pieces) == len(group.rows) <= GROUP_TOKENS
    for whole in pieces:
        cut = [piece for group in made for piece in group.pieces if piece.start == whole.start]
        assert [piece.position for piece in cut] == list(range(7, 7 + whole.tokens, GROUP_TOKENS))
        assert cut[-1].end == whole.end


@pytest.fixture(scope="module", params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


@pytest.fixture(scope="module")
def server(dtype: torch.dtype, tmp_path_factory: pytest.TempPathFactory) -> Server:
    whole, blocks, inputs = make_parts(tmp_path_factory.mktemp("invariant"), "llama", dtype)
    arena = FakeMemory()
    arena.lay_out(len(blocks), blocks[0].num_kv_heads, blocks[0].head_size, dtype, CPU)
    span = PackedSpan(blocks, inputs, arena.keys, arena.values, invariant=True)
    assert differs_in_batches(blocks, inputs, dtype, CPU, invariant=True) is None
    return Server(whole, span, arena, Scheduler(arena, span, Pace(BUDGET, seconds=1.0), GROUP_TOKENS))


def speak(server: Server, hidden: torch.Tensor, beside: list[int], seed: int) -> list[torch.Tensor]:
    """Return what a text's prompt and two more tokens give, while prompts of these lengths come and run."""
    numbers = torch.Generator().manual_seed(seed)
    handles = [1000 * (number + 1) for number in range(len(beside) + 1)]
    own, *others = handles
    for handle, length in zip(others, beside, strict=True):
        if sum(beside) + 60 <= ARENA_TOKENS:  # else there is no room for them
            server.arena.open(handle, 1, length)
            server.submit(
                handle, torch.randn(1, length, hidden.shape[-1], generator=numbers).to(hidden.dtype)
            )
    server.arena.open(own, 1, 60)
    outputs = []
    position = 0
    for part in hidden.split([hidden.shape[1] - 2, 1, 1], dim=1):
        step = server.submit(own, part, position)
        ended: dict[object, torch.Tensor | Exception] = {}
        while step not in ended:
            ended.update(server.scheduler.tick())
        output = ended[step]
        assert isinstance(output, torch.Tensor)
        outputs.append(output)
        position += part.shape[1]
    server.finish()
    for handle in handles:
        if server.arena.holds(handle):
            server.arena.close_session(handle)
    server.arena.catch_up()
    return outputs


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 58), LENGTHS, st.integers(0, 1000))
def test_neighbours_change_no_bit(server: Server, length: int, beside: list[int], seed: int) -> None:
    numbers = torch.Generator().manual_seed(length)
    hidden = torch.randn(1, length, HIDDEN, generator=numbers).to(server.span._keys.dtype)

    alone = speak(server, hidden, [], seed)
    together = speak(server, hidden, beside, seed)

    assert all(map(torch.equal, alone, together))


def test_without_groups_neighbours_change_bits(tmp_path: Path) -> None:
    """Or the tests above would prove nothing. In float32 and unpacked; else small layers may come out alike."""
    _, blocks, inputs = make_parts(tmp_path, "llama", prepacked=False)
    size = (len(blocks), 100, blocks[0].num_kv_heads, blocks[0].head_size)
    span = PackedSpan(blocks, inputs, torch.empty(size), torch.empty(size))
    hidden = torch.randn(1, HIDDEN, generator=torch.Generator().manual_seed(0))

    alone = span.run(hidden, [Piece(0, 0, 1)], ALL)
    pieces = [Piece(2 * number, 0, 1) for number in range(40)]
    together = span.run(hidden.repeat(40, 1), pieces, ALL)

    assert not together[:1].equal(alone)


@pytest.mark.parametrize("texts", [1, 2, 15, 16, 17, 40])
def test_the_head_gives_a_text_the_same_logits_beside_any_number(server: Server, texts: int) -> None:
    ends = Ends(lambda gap: _with_gap(server, gap), invariant=True)
    hidden = torch.randn(texts, HIDDEN, generator=torch.Generator().manual_seed(1))

    together = ends.read([ToRead(row[None], None) for row in hidden])

    for row, logits in zip(hidden, together, strict=True):
        (alone,) = ends.read([ToRead(row[None], None)])
        assert isinstance(alone, torch.Tensor)
        assert isinstance(logits, torch.Tensor)
        assert alone.equal(logits)


def _with_gap(server: Server, gap: torch.nn.Module) -> torch.nn.Module:
    server.whole.model.layers = torch.nn.ModuleList([gap])
    return server.whole
