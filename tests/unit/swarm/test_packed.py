"""A batch of pieces of several texts gives what the whole model gives each: with windows, soft-caps and scales."""

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen3Config,
)

from services.swarm import kernels
from services.swarm.family.anatomy import Anatomy
from services.swarm.family.block import DecoderBlock
from services.swarm.family.layer_inputs import LayerInputs
from services.swarm.family.prepacked import prepack
from services.swarm.serving.groups import GROUP_TOKENS
from services.swarm.serving.packed import PackedSpan
from services.swarm.serving.packed_check import differs_in_batches
from services.swarm.serving.pieces import Piece

CPU = torch.device("cpu")
HIDDEN, LAYERS, WINDOW = 64, 2, 8
COMMON = {
    "vocab_size": 50,
    "hidden_size": HIDDEN,
    "intermediate_size": 96,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 128,
    "initializer_range": 0.15,
}
CONFIGS: dict[str, PreTrainedConfig] = {
    "a window": MistralConfig(**COMMON, sliding_window=WINDOW),
    "a window in every other layer, soft-caps, a scale": Gemma2Config(
        **COMMON, sliding_window=WINDOW, attn_logit_softcapping=1.0, query_pre_attn_scalar=100
    ),
    "norms of queries and keys": Qwen3Config(**COMMON),
    "experts": MixtralConfig(**COMMON, num_local_experts=4, num_experts_per_tok=2),
    "multipliers": GraniteConfig(**COMMON, attention_multiplier=0.5, residual_multiplier=0.7),
    "attention and MLP side by side": CohereConfig(**COMMON),
}


class Ear(torch.nn.Module):
    """Remembers what went into the first layer and came out of the last."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model.model
        self.first: torch.Tensor
        self.last: torch.Tensor
        self.model.layers[0].register_forward_pre_hook(self._into_first)
        self.model.layers[-1].register_forward_hook(self._out_of_last)

    def _into_first(self, _: object, given: tuple[torch.Tensor, ...]) -> None:
        self.first = given[0]

    def _out_of_last(self, _: object, __: object, output: torch.Tensor | tuple[torch.Tensor, ...]) -> None:
        self.last = output if isinstance(output, torch.Tensor) else output[0]

    @torch.no_grad()
    def hear(self, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        self.model(torch.randint(50, (1, length), generator=torch.Generator().manual_seed(length)))
        return self.first[0], self.last[0]


def span_of(
    model: PreTrainedModel, *, prepacked: bool = False
) -> tuple[PackedSpan, list[DecoderBlock], LayerInputs]:
    if prepacked:
        prepack(model.model.layers)
    anatomy = Anatomy.of(model.config)
    inputs = LayerInputs(anatomy, model.dtype, CPU)
    blocks = [DecoderBlock(anatomy, index, layer, inputs) for index, layer in enumerate(model.model.layers)]
    size = (len(blocks), 100 + GROUP_TOKENS, blocks[0].num_kv_heads, blocks[0].head_size)
    keys, values = (torch.full(size, float("nan"), dtype=model.dtype) for _ in ("keys", "values"))
    return PackedSpan(blocks, inputs, keys, values), blocks, inputs


def make(config: PreTrainedConfig, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(
        config, dtype=dtype, attn_implementation="eager"
    )
    return model.eval()


@pytest.fixture(params=["operators of ours", "torch's operators"])
def _operators(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kernels.OPERATORS is not None
    if request.param != "operators of ours":
        monkeypatch.setattr(kernels, "OPERATORS", None)


@pytest.mark.usefixtures("_operators")
@pytest.mark.parametrize("prepacked", [True, False])
@pytest.mark.parametrize("what", CONFIGS)
def test_pieces_of_texts_give_what_the_whole_texts_give(what: str, *, prepacked: bool) -> None:
    model = make(CONFIGS[what])
    ear = Ear(model)
    texts = {0: ear.hear(30), 40: ear.hear(20), 70: ear.hear(25)}
    span, _, _ = span_of(model, prepacked=prepacked)
    done = dict.fromkeys(texts, 0)

    for lengths in ((12, 1, 3), (1, 10, 1), (10, 1, 1), (1, 1, 15), (6, 7, 5)):
        pieces = [Piece(start, done[start], count) for start, count in zip(texts, lengths, strict=True)]
        given = [texts[piece.start][0][piece.position : piece.end] for piece in pieces]

        outputs = span.run(torch.cat(given), pieces, range(LAYERS)).split(lengths)

        for piece, output in zip(pieces, outputs, strict=True):
            expected = texts[piece.start][1][piece.position : piece.end]
            torch.testing.assert_close(output, expected, rtol=0, atol=1e-4)
            done[piece.start] = piece.end
    assert done == {start: len(first) for start, (first, _) in texts.items()}


@pytest.mark.parametrize("what", ["a window", "norms of queries and keys"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_layer_in_one_call_computes_what_its_parts_do(what: str, dtype: torch.dtype) -> None:
    model = make(CONFIGS[what], dtype)
    span, *_ = span_of(model, prepacked=True)
    pieces = [Piece(0, 0, 4), Piece(30, 0, 1)]
    numbers = torch.Generator().manual_seed(0)
    hidden = torch.randn(5, HIDDEN, generator=numbers).to(dtype)
    with torch.inference_mode():
        whole = span.run(hidden, pieces, range(1))
        for one in span._fused:
            assert one is not None
            assert one._whole is not None
            one._whole = None
        assert span.run(hidden, pieces, range(1)).equal(whole)


@pytest.mark.parametrize("what", CONFIGS)
def test_such_blocks_are_found_fit(what: str) -> None:
    _, blocks, inputs = span_of(make(CONFIGS[what]))

    assert differs_in_batches(blocks, inputs, torch.float32, CPU) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_blocks_that_see_less_alone_than_in_batches_are_found(dtype: torch.dtype) -> None:
    _, blocks, inputs = span_of(make(CONFIGS["a window in every other layer, soft-caps, a scale"], dtype))
    blocks[0].layer.self_attn.sliding_window = None  # only the model's mask knows of the window now

    problem = differs_in_batches(blocks, inputs, dtype, CPU)

    assert problem == "block 0 computes something else beside other sessions"


def test_what_attention_is_told_and_nobody_knows_is_refused() -> None:
    _, blocks, inputs = span_of(make(LlamaConfig(**COMMON)))
    attend = blocks[1].layer.self_attn.forward
    blocks[1].layer.self_attn.forward = lambda *args, **said: attend(*args, **said, sinks=torch.ones(4))

    problem = differs_in_batches(blocks, inputs, torch.float32, CPU)

    assert problem == "block 1: attention with sinks is not run in batches"


def test_in_bfloat16_neighbours_change_no_more_than_rounding_does() -> None:
    model = make(LlamaConfig(**COMMON), torch.bfloat16)
    span, _, _ = span_of(model)
    exact = make(LlamaConfig(**COMMON)).to(torch.bfloat16).float()
    exact_span, _, _ = span_of(exact)
    hidden = torch.randn(20, HIDDEN, generator=torch.Generator().manual_seed(0)).bfloat16()
    neighbours = torch.randn(15, HIDDEN, generator=torch.Generator().manual_seed(1)).bfloat16()

    alone = span.run(hidden, [Piece(0, 0, 20)], range(LAYERS))
    pieces = [Piece(30 + 2 * number, 0, 1) for number in range(15)]
    beside = span.run(torch.cat([neighbours, hidden]), [*pieces, Piece(0, 0, 20)], range(LAYERS))[15:]
    truth = exact_span.run(hidden.float(), [Piece(0, 0, 20)], range(LAYERS))

    rounding = (alone.float() - truth).norm() / truth.norm()
    assert (beside.float() - alone.float()).norm() / truth.norm() <= 2 * rounding


def test_in_bfloat16_results_are_nearer_to_the_exact_ones_than_those_of_transformers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deep = LlamaConfig(**{**COMMON, "num_hidden_layers": 16})
    text = torch.randn(20, HIDDEN, generator=torch.Generator().manual_seed(0)).bfloat16()

    def run(dtype: torch.dtype) -> torch.Tensor:
        span, blocks, _ = span_of(make(deep, torch.bfloat16).to(dtype), prepacked=True)
        return span.run(text.to(dtype), [Piece(0, 0, 20)], range(len(blocks))).float()

    exact, ours = run(torch.float32), run(torch.bfloat16)
    monkeypatch.setattr(kernels, "OPERATORS", None)
    theirs = run(torch.bfloat16)

    assert (ours - exact).norm() < 0.85 * (theirs - exact).norm()
