"""Choosing a token: what the parameters mean, which are refused, and that shortcuts change nothing."""

import math
from collections import Counter

import pytest
import torch
from transformers.generation.logits_process import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from services.common.errors import Broken, InvalidInput
from services.endpoint.sampling import SamplingParameters, TokenChooser

LOGITS = torch.tensor([1.0, 4.0, 2.0, 3.0, -5.0])


def choose(chooser: TokenChooser, logits: torch.Tensor) -> int:
    (token,) = TokenChooser.choose_all([chooser], logits.unsqueeze(0))
    assert isinstance(token, int)
    return token


def draws(parameters: SamplingParameters, logits: torch.Tensor, count: int = 300) -> Counter[int]:
    chooser = TokenChooser(parameters, [], torch.Generator().manual_seed(7))
    return Counter(choose(chooser, logits) for _ in range(count))


def test_without_do_sample_the_likeliest_token_wins_whatever_the_temperature() -> None:
    assert choose(TokenChooser(SamplingParameters(temperature=50.0, top_k=3), []), LOGITS) == 1


@pytest.mark.parametrize("temperature", [0, 1e-300, 1e-9])
def test_a_temperature_of_about_zero_is_greedy(temperature: float) -> None:
    assert draws(SamplingParameters(do_sample=True, temperature=temperature), LOGITS, 20) == {1: 20}


def test_the_lowest_temperature_that_samples_does_not_overflow() -> None:
    logits = torch.tensor([1e30, -1e30, 1e30])
    assert set(draws(SamplingParameters(do_sample=True, temperature=1e-4), logits, 50)) == {0, 2}


def test_top_k_leaves_k_tokens() -> None:
    assert set(draws(SamplingParameters(do_sample=True, top_k=2, temperature=5.0), LOGITS)) == {1, 3}


def test_a_top_k_beyond_the_vocabulary_leaves_all() -> None:
    assert set(draws(SamplingParameters(do_sample=True, top_k=10**6, temperature=9.0), LOGITS)) == {
        0,
        1,
        2,
        3,
        4,
    }


@pytest.mark.parametrize("top_p", [0, 0.9, 0.99999])
@pytest.mark.parametrize("spread", [0.3, 3.0])
@pytest.mark.parametrize("top_k", [None, 40])
def test_the_nucleus_is_that_of_transformers(top_p: float, spread: float, top_k: int | None) -> None:
    logits = torch.randn(3000, generator=torch.Generator().manual_seed(1)) * spread
    expected = TemperatureLogitsWarper(0.7)(None, logits.unsqueeze(0))
    if top_k:
        expected = TopKLogitsWarper(top_k)(None, expected)
    expected = TopPLogitsWarper(float(top_p))(None, expected).softmax(-1)[0]
    parameters = SamplingParameters(do_sample=True, temperature=0.7, top_k=top_k, top_p=top_p)
    count = 300
    drawn = draws(parameters, logits, count)
    assert all(expected[token] > 0 for token in drawn)
    for token in expected.topk(3).indices.tolist():
        share = expected[token].item()
        assert drawn[token] / count == pytest.approx(share, abs=5 * math.sqrt(share / count) + 1e-9)


def test_draws_follow_the_probabilities() -> None:
    drawn = draws(SamplingParameters(do_sample=True), LOGITS, 4000)
    for token, share in enumerate(LOGITS.softmax(-1).tolist()):
        assert drawn[token] / 4000 == pytest.approx(share, abs=0.03)


def test_the_same_seed_draws_the_same_and_no_seed_does_not() -> None:
    logits = torch.zeros(1000)

    def text(seed: int | None) -> list[int]:
        chooser = TokenChooser(SamplingParameters(do_sample=True, seed=seed), [])
        return [choose(chooser, logits) for _ in range(20)]

    assert text(3) == text(3)
    assert text(3) != text(4)
    assert text(None) != text(None)


def test_a_repetition_penalty_looks_at_what_was_said_and_at_its_own_tokens() -> None:
    chooser = TokenChooser(SamplingParameters(repetition_penalty=4.0), [1])
    assert choose(chooser, LOGITS) == 3
    assert choose(chooser, LOGITS) == 2


@pytest.mark.parametrize("peak", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_numbers_are_the_swarms_fault(peak: float) -> None:
    rows = torch.stack([LOGITS, torch.full((5,), peak), LOGITS])
    for parameters in (SamplingParameters(), SamplingParameters(do_sample=True, top_p=0.5, top_k=1)):
        answers = TokenChooser.choose_all([TokenChooser(parameters, []) for _ in rows], rows)
        assert isinstance(answers[1], Broken)
        assert "not numbers" in str(answers[1])
        assert answers[::2] == [1, 1]


def test_a_text_does_not_depend_on_its_neighbours() -> None:
    """Seeds, contexts and parameters differ; every row is drawn as if it were alone."""
    every = [
        SamplingParameters(),
        SamplingParameters(repetition_penalty=1.5),
        SamplingParameters(do_sample=True, seed=1),
        SamplingParameters(do_sample=True, seed=2, temperature=0.7, top_k=7),
        SamplingParameters(do_sample=True, seed=3, top_k=900, top_p=0.8),
        SamplingParameters(do_sample=True, seed=4, top_p=0.9999, repetition_penalty=3.0),
        SamplingParameters(do_sample=True, seed=5, top_p=0.3),
    ]
    noise = torch.Generator().manual_seed(3)
    steps = [torch.randn(len(every), 3000, generator=noise) for _ in range(20)]

    together = [TokenChooser(parameters, [5, 6, 6]) for parameters in every]
    texts = list(zip(*(TokenChooser.choose_all(together, logits) for logits in steps), strict=True))

    for row, parameters in enumerate(every):
        alone = TokenChooser(parameters, [5, 6, 6])
        assert texts[row] == tuple(choose(alone, logits[row]) for logits in steps)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", 1e9),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("top_k", -1),
        ("top_k", 10**30),
        ("top_p", -0.5),
        ("top_p", 1.01),
        ("top_p", math.nan),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", -2.0),
        ("repetition_penalty", 1e6),
        ("repetition_penalty", math.nan),
        ("seed", -1),
        ("seed", 2**64),
    ],
)
def test_absurd_values_are_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(InvalidInput, match=f"^{name}: must be between"):
        SamplingParameters(**{name: value})
