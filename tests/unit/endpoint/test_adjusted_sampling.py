"""Penalties, biases and log-probabilities: what they mean, for many texts in one computation."""

import pytest
import torch

from services.endpoint.errors import WrongField
from services.endpoint.sampling import SamplingParameters, TokenChooser

LOGITS = torch.tensor([1.0, 4.0, 2.0, 3.0, -5.0])


def chosen(chooser: TokenChooser, count: int) -> list[int | Exception]:
    return [TokenChooser.choose_all([chooser], LOGITS.unsqueeze(0))[0] for _ in range(count)]


def test_a_presence_penalty_is_taken_off_once_and_a_frequency_penalty_every_time() -> None:
    assert chosen(TokenChooser(SamplingParameters(presence_penalty=1.5), []), 5) == [1, 3, 1, 1, 1]
    assert chosen(TokenChooser(SamplingParameters(frequency_penalty=0.6), []), 6) == [1, 1, 3, 1, 3, 1]


def test_they_look_at_the_answer_alone() -> None:
    parameters = SamplingParameters(presence_penalty=2.0, frequency_penalty=2.0)
    assert chosen(TokenChooser(parameters, [1, 1, 1]), 1) == [1]


def test_a_negative_penalty_repeats() -> None:
    parameters = SamplingParameters(presence_penalty=-2.0, logit_bias={3: 1.5})
    assert chosen(TokenChooser(parameters, []), 3) == [3, 3, 3]


def test_a_bias_forbids_and_forces() -> None:
    assert chosen(TokenChooser(SamplingParameters(logit_bias={1: -100}), []), 1) == [3]
    assert chosen(TokenChooser(SamplingParameters(do_sample=True, logit_bias={4: 100}), []), 5) == [4] * 5


def test_probabilities_are_the_models_own() -> None:
    parameters = SamplingParameters(
        do_sample=True, temperature=9.0, top_k=1, logit_bias={0: 50.0}, repetition_penalty=3.0, logprobs=2
    )
    chooser = TokenChooser(parameters, [1, 2])
    assert chosen(chooser, 2) == [0, 0]
    own = LOGITS.log_softmax(-1).tolist()
    for told in chooser.logprobs:
        assert (told.token, told.logprob) == (0, pytest.approx(own[0]))
        assert told.likeliest == ((1, pytest.approx(own[1])), (3, pytest.approx(own[3])))


def test_a_text_does_not_depend_on_its_neighbours() -> None:
    every = [
        SamplingParameters(),
        SamplingParameters(presence_penalty=1.0, logprobs=0),
        SamplingParameters(do_sample=True, seed=1, frequency_penalty=0.5, logprobs=5),
        SamplingParameters(do_sample=True, seed=2, logit_bias={7: 3.0, 9: -100.0}, repetition_penalty=1.2),
        SamplingParameters(frequency_penalty=-1.0, logit_bias={3: 1.0}, logprobs=20),
    ]
    noise = torch.Generator().manual_seed(3)
    steps = [torch.randn(len(every), 300, generator=noise) for _ in range(15)]
    together = [TokenChooser(parameters, [5, 6]) for parameters in every]
    texts = list(zip(*(TokenChooser.choose_all(together, logits) for logits in steps), strict=True))
    for row, parameters in enumerate(every):
        alone = TokenChooser(parameters, [5, 6])
        tokens = [TokenChooser.choose_all([alone], logits[row : row + 1])[0] for logits in steps]
        assert list(texts[row]) == tokens
        assert [one.token for one in together[row].logprobs] == [one.token for one in alone.logprobs]
        assert [one.likeliest for one in together[row].logprobs] == [one.likeliest for one in alone.logprobs]
        assert len(alone.logprobs) == (0 if parameters.logprobs is None else len(steps))


def test_logits_stay_as_they_were() -> None:
    logits = LOGITS.clone().unsqueeze(0)
    parameters = SamplingParameters(presence_penalty=1.0, logit_bias={1: 5.0}, repetition_penalty=2.0)
    TokenChooser.choose_all([TokenChooser(parameters, [1])], logits)
    assert torch.equal(logits[0], LOGITS)


@pytest.mark.parametrize(
    "fields",
    [
        {"presence_penalty": 2.1},
        {"frequency_penalty": float("nan")},
        {"logit_bias": {1: float("inf")}},
        {"logit_bias": {-1: 1.0}},
        {"logprobs": 21},
        {"logprobs": -1},
    ],
)
def test_absurd_values_are_refused_by_name(fields: dict[str, object]) -> None:
    with pytest.raises(WrongField) as caught:
        SamplingParameters(**fields)
    assert caught.value.field in fields
