"""How the next tokens are chosen from logits: checked parameters, and one computation for many texts."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from services.common.errors import Broken
from services.endpoint.drawing import draw_from_all, draw_from_nuclei
from services.endpoint.errors import WrongField
from services.endpoint.grammar import Grammar

_COLDEST = 1e-4
"""Below this temperature the likeliest token always wins, and float32 logits divided by it overflow."""
MAX_LOGPROBS = 20


@dataclass(frozen=True)
class SamplingParameters:
    """How to choose tokens; ``None`` leaves a step out.

    Attributes:
        do_sample: draw tokens at random; otherwise the likeliest one is taken, and only the penalties and
            ``logit_bias`` apply.
        temperature: 0…100; 0 takes the likeliest token.
        top_k: draw from this many likeliest tokens; 0 draws from all.
        top_p: draw from the likeliest tokens that together have this probability, 0…1.
        repetition_penalty: 0.01…100; above 1 makes tokens that were said already less likely.
        seed: the same seed gives the same draws; ``None`` draws differently every time.
        presence_penalty: -2…2; taken off the score of tokens that this answer has already.
        frequency_penalty: -2…2; taken off it once for every time that this answer has the token.
        logit_bias: -100…100 by token id; added to the token's score.
        logprobs: 0…20; keep the log-probability of every chosen token and of this many likeliest ones. They are
            the model's own, before all of the above.
        grammar: what the text must be; whatever the above say, no token is chosen that leads elsewhere.

    Raises:
        WrongField: a value is out of its range; the message names it.
    """

    do_sample: bool = False
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    logprobs: int | None = None
    grammar: Grammar | None = None

    def __post_init__(self) -> None:
        _check("temperature", self.temperature, 0, 100)
        _check("top_k", self.top_k, 0, 2**31 - 1)
        _check("top_p", self.top_p, 0, 1)
        _check("repetition_penalty", self.repetition_penalty, 0.01, 100)
        _check("seed", self.seed, 0, 2**63 - 1)
        _check("presence_penalty", self.presence_penalty, -2, 2)
        _check("frequency_penalty", self.frequency_penalty, -2, 2)
        _check("logprobs", self.logprobs, 0, MAX_LOGPROBS)
        for token, bias in self.logit_bias.items():
            _check("logit_bias", token, 0, 2**31 - 1)
            _check("logit_bias", bias, -100, 100)

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token always wins."""
        return not self.do_sample or (self.temperature is not None and self.temperature < _COLDEST)


def _check(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise WrongField(f"{name}: must be between {low} and {high}, not {value}")


@dataclass(frozen=True)
class TokenLogprob:
    """How likely a chosen token was.

    Attributes:
        token: its id.
        logprob: natural logarithm of its probability.
        likeliest: ids and log-probabilities of the likeliest tokens in its place, in descending order.
    """

    token: int
    logprob: float
    likeliest: tuple[tuple[int, float], ...] = ()


class TokenChooser:
    """Chooses the tokens of one answer.

    Every text's row is computed by itself, so that its tokens do not depend on what is chosen beside it.

    Args:
        context: the tokens said so far; only a repetition penalty looks at them.
        generator: source of randomness; by default one that is seeded with ``parameters.seed``.

    Attributes:
        logprobs: one for each token that was chosen so far, if ``parameters`` ask for them.
    """

    def __init__(
        self,
        parameters: SamplingParameters,
        context: list[int],
        generator: torch.Generator | None = None,
    ) -> None:
        self._greedy = parameters.greedy
        self._penalty = None if parameters.repetition_penalty == 1.0 else parameters.repetition_penalty
        self._temperature = 1.0 if parameters.temperature is None else float(parameters.temperature)
        self._top_k = parameters.top_k or None
        self._top_p = None if parameters.top_p == 1.0 else parameters.top_p
        self._context = list(context) if self._penalty else []
        self._presence, self._frequency = parameters.presence_penalty, parameters.frequency_penalty
        self._counts: Counter[int] | None = Counter() if self._presence or self._frequency else None
        self._bias = parameters.logit_bias
        self._alternatives = parameters.logprobs
        self._matching = parameters.grammar.begin() if parameters.grammar else None
        self.logprobs: list[TokenLogprob] = []
        self._generator = generator
        if generator is None and not self._greedy:
            self._generator = torch.Generator()
            if parameters.seed is None:
                self._generator.seed()
            else:
                self._generator.manual_seed(parameters.seed)

    @classmethod
    @torch.inference_mode()
    def choose_all(cls, choosers: Sequence["TokenChooser"], logits: torch.Tensor) -> list[int | Exception]:
        """Choose the next token of many texts at once.

        Args:
            choosers: one for each text.
            logits: [texts, vocabulary] in float32.

        Returns:
            A token for each text, or ``Broken`` where the logits are not numbers, as some server computes wrongly, or
            ``WrongField`` where its grammar cannot be followed any more.
        """
        scores = _adjusted(choosers, logits)
        peaks, likeliest = scores.max(dim=-1, keepdim=True)
        answers: list[int | Exception] = likeliest[:, 0].tolist()
        for index, peak in enumerate(peaks[:, 0].tolist()):
            if not math.isfinite(peak):
                answers[index] = choosers[index]._obstacle()
        drawing = [
            index
            for index, chooser in enumerate(choosers)
            if not chooser._greedy and not isinstance(answers[index], Exception)
        ]
        if drawing:
            # The shift changes no probability, and keeps a low temperature from overflowing float32
            tokens = _draw([choosers[index] for index in drawing], (scores - peaks)[drawing])
            for index, token in zip(drawing, tokens, strict=True):
                answers[index] = token
        for chooser, answer in zip(choosers, answers, strict=True):
            if isinstance(answer, int):
                chooser._remember(answer)
        _note_logprobs(choosers, logits, answers)
        return answers

    @property
    def complete(self) -> bool:
        """Whether the text is all that its grammar wants."""
        return self._matching is not None and self._matching.complete

    def _obstacle(self) -> Exception:
        """Return why no token can be chosen."""
        problem = self._matching.problem if self._matching else None
        return problem or Broken("a server of the swarm returned values that are not numbers", "try again")

    def _remember(self, token: int) -> None:
        if self._penalty is not None:
            self._context.append(token)
        if self._counts is not None:
            self._counts[token] += 1
        if self._matching is not None:
            self._matching.take(token)

    def _additions(self) -> dict[int, float]:
        """Return what is added to the scores of which tokens."""
        if not self._counts:
            return dict(self._bias)
        added = {token: -self._presence - self._frequency * count for token, count in self._counts.items()}
        for token, bias in self._bias.items():
            added[token] = added.get(token, 0.0) + bias
        return added


def _adjusted(choosers: Sequence[TokenChooser], logits: torch.Tensor) -> torch.Tensor:
    """Return scores in which tokens are as much less or more likely as each text's parameters want, or impossible."""
    additions = [chooser._additions() for chooser in choosers]
    repeating = _indices(choosers, lambda chooser: chooser._penalty is not None)
    bound = _indices(choosers, lambda chooser: chooser._matching is not None)
    if not repeating and not bound and not any(additions):
        return logits
    scores = logits.clone()
    for index in repeating:
        row, penalty = scores[index], choosers[index]._penalty or 1.0
        said = torch.tensor(choosers[index]._context, dtype=torch.long)
        before = row[said]
        row[said] = torch.where(before < 0, before * penalty, before / penalty)
    rows = [row for row, added in enumerate(additions) for _ in added]
    tokens = [token for added in additions for token in added]
    amounts = [amount for added in additions for amount in added.values()]
    scores[rows, tokens] += torch.tensor(amounts)
    for index in bound:
        if (matching := choosers[index]._matching) is not None:
            scores[index].masked_fill_(~matching.allowed(scores.shape[-1]), -math.inf)
    return scores


def _note_logprobs(
    choosers: Sequence[TokenChooser], logits: torch.Tensor, answers: Sequence[int | Exception]
) -> None:
    """Let those texts that want it know how likely their new tokens were."""
    chosen = {
        index: answer
        for index, answer in enumerate(answers)
        if isinstance(answer, int) and choosers[index]._alternatives is not None
    }
    if not chosen:
        return
    shares = logits[list(chosen)].log_softmax(dim=-1)
    own = shares.gather(1, torch.tensor(list(chosen.values())).unsqueeze(1))[:, 0].tolist()
    most = max(choosers[index]._alternatives or 0 for index in chosen)
    values, tokens = shares.topk(min(most, shares.shape[-1]))
    best = zip(tokens.tolist(), values.tolist(), strict=True)
    for (index, token), logprob, (ids, logprobs) in zip(chosen.items(), own, best, strict=True):
        likeliest = tuple(zip(ids, logprobs, strict=True))[: choosers[index]._alternatives]
        choosers[index].logprobs.append(TokenLogprob(token, logprob, likeliest))


def _draw(choosers: Sequence[TokenChooser], scores: torch.Tensor) -> list[int]:
    """Return a random token for each text, given scores [texts, vocabulary] whose largest are 0."""
    scores = scores / torch.tensor([[chooser._temperature] for chooser in choosers])
    _leave_top_k(choosers, scores)
    thresholds = torch.cat([torch.rand((1, 1), generator=chooser._generator) for chooser in choosers])
    tokens = torch.empty(len(choosers), dtype=torch.long)
    whole = _indices(choosers, lambda chooser: chooser._top_p is None)
    if whole:
        tokens[whole] = draw_from_all(scores[whole], thresholds[whole])
    nuclei = _indices(choosers, lambda chooser: chooser._top_p is not None)
    if nuclei:
        limits = torch.tensor([[choosers[index]._top_p] for index in nuclei], dtype=torch.float64)
        tokens[nuclei] = draw_from_nuclei(scores[nuclei], limits, thresholds[nuclei])
    picked: list[int] = tokens.tolist()
    return picked


def _indices(choosers: Sequence[TokenChooser], wanted: Callable[[TokenChooser], bool]) -> list[int]:
    return [index for index, chooser in enumerate(choosers) if wanted(chooser)]


def _leave_top_k(choosers: Sequence[TokenChooser], scores: torch.Tensor) -> None:
    """Leave each text's ``top_k`` likeliest tokens; ties with the last of them stay, as in transformers."""
    limited = _indices(choosers, lambda chooser: chooser._top_k is not None)
    if not limited:
        return
    counts = [min(choosers[index]._top_k or 0, scores.shape[-1]) for index in limited]
    best = scores[limited].topk(max(counts)).values
    weakest = best.gather(1, torch.tensor(counts).unsqueeze(1) - 1)
    scores[limited] = scores[limited].masked_fill(scores[limited] < weakest, -math.inf)
