"""Embeddings, norm and head beside the whole model, for many texts at once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from services.swarm.client.ends import Ends, ToEmbed, ToRead
from services.swarm.family.anatomy import Anatomy
from tests.unit.swarm.tiny_models import save_tiny_model

TOLERANCE = {"rtol": 0, "atol": 1e-5}
"""Sums are made in another order when rows are computed together."""


class Likeliest:
    """Chooses the likeliest token, and fails for texts that are told to."""

    calls = 0

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails

    @classmethod
    def choose_all(cls, choosers: Sequence[Any], logits: torch.Tensor) -> list[int | Exception]:
        cls.calls += 1
        return [
            ValueError("told to") if chooser.fails else int(row.argmax())
            for chooser, row in zip(choosers, logits, strict=True)
        ]


@pytest.fixture(params=("llama", "llama-3.1", "mixtral", "gemma3", "granite", "cohere", "gpt2"))
def whole(request: pytest.FixtureRequest, tmp_path: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(
        save_tiny_model(tmp_path, request.param), dtype=torch.float32
    ).eval()


@pytest.fixture
def inner(whole: PreTrainedModel) -> dict[str, torch.Tensor]:
    """What went into the first layer and came out of the last one, in the whole model's last pass."""
    seen: dict[str, torch.Tensor] = {}
    layers = whole.base_model.get_submodule(Anatomy.of(whole.config).layers_name)
    layers[0].register_forward_pre_hook(lambda _, args: seen.update(first=args[0]))
    layers[-1].register_forward_hook(lambda _, __, output: seen.update(last=output))
    return seen


def ends_of(whole: PreTrainedModel) -> Ends:
    def make(gap: nn.Module) -> PreTrainedModel:
        setattr(whole.base_model, Anatomy.of(whole.config).layers_name, nn.ModuleList([gap]))
        return whole

    return Ends(make)


def test_its_memory_is_that_of_its_weights_each_once(whole: PreTrainedModel) -> None:
    ends = ends_of(whole)
    weights = {one.data_ptr(): one.nbytes for one in (*whole.parameters(), *whole.buffers())}
    assert ends.memory_bytes == sum(weights.values()) > 0


def test_each_text_gets_what_the_whole_model_makes_of_it(
    whole: PreTrainedModel, inner: dict[str, torch.Tensor]
) -> None:
    texts = [(3, 4, 5), (7,), (9,), (2, 1, 300), (8, 8)]
    wanted = []
    for position, text in enumerate(texts):
        positions = torch.arange(position, position + len(text))[None]
        logits = whole(torch.tensor([text]), position_ids=positions).logits[0, -1]
        wanted.append((inner["first"], inner["last"][0, -1:], logits))
    ends = ends_of(whole)

    embedded = ends.embed([ToEmbed(text, position) for position, text in enumerate(texts)])
    read = ends.read([ToRead(last, None) for _, last, _ in wanted])

    for (first, _, logits), hidden, answer in zip(wanted, embedded, read, strict=True):
        assert hidden.equal(first)
        assert isinstance(answer, torch.Tensor)
        torch.testing.assert_close(answer, logits, **TOLERANCE)


def test_texts_with_choosers_get_tokens_by_one_call(
    whole: PreTrainedModel, inner: dict[str, torch.Tensor]
) -> None:
    logits = whole(torch.tensor([[3, 4, 5, 6]])).logits[0]
    hidden = inner["last"][0]
    Likeliest.calls = 0

    answers = ends_of(whole).read(
        [
            ToRead(hidden[:1], Likeliest()),
            ToRead(hidden[1:2], None),
            ToRead(hidden[2:3], Likeliest(fails=True)),
            ToRead(hidden[3:], Likeliest()),
        ]
    )

    assert answers[0] == [int(logits[0].argmax())]
    assert isinstance(answers[1], torch.Tensor)
    assert isinstance(answers[2], ValueError)
    assert answers[3] == [int(logits[3].argmax())]
    assert Likeliest.calls == 1


@pytest.mark.parametrize(("right", "wrong"), [(0, 2), (1, 0), (2, 0), (2, 1)])
def test_as_many_tokens_follow_as_were_guessed_and_one_more(
    whole: PreTrainedModel, inner: dict[str, torch.Tensor], right: int, wrong: int
) -> None:
    logits = whole(torch.tensor([[3, 4, 5, 6, 7, 8]])).logits[0]
    hidden = inner["last"][0]
    likeliest = logits.argmax(-1).tolist()
    guesses = (*likeliest[1 : 1 + right], *[likeliest[1 + right] + 1] * wrong)

    answers = ends_of(whole).read(
        [
            ToRead(hidden[:1], Likeliest()),
            ToRead(hidden[1 : 2 + len(guesses)], Likeliest(), guesses),
            ToRead(hidden[5:], None),
        ]
    )

    assert answers[:2] == [likeliest[:1], likeliest[1 : 2 + right]]
    torch.testing.assert_close(answers[2], logits[5], **TOLERANCE)
