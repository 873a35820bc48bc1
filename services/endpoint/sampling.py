"""How the next token is chosen from the logits: checked parameters, transformers' processors."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from transformers.generation.logits_process import (
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from services.common.errors import Broken, InvalidInput

_COLDEST = 1e-4
"""Below this temperature the likeliest token always wins, and float32 logits divided by it overflow."""
_NUCLEUS_CANDIDATES = 256


@dataclass(frozen=True)
class SamplingParameters:
    """How to choose tokens; ``None`` leaves a step out.

    Attributes:
        do_sample: draw tokens at random; otherwise the likeliest one is taken and only
            ``repetition_penalty`` applies.
        temperature: 0…100; 0 takes the likeliest token.
        top_k: draw from this many likeliest tokens; 0 draws from all.
        top_p: draw from the likeliest tokens that together have this probability, 0…1.
        repetition_penalty: 0.01…100; above 1 makes tokens that were said already less likely.
        seed: the same seed gives the same draws; ``None`` draws differently every time.

    Raises:
        InvalidInput: a value is out of its range; the message names it.
    """

    do_sample: bool = False
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        _check("temperature", self.temperature, 0, 100)
        _check("top_k", self.top_k, 0, 2**31 - 1)
        _check("top_p", self.top_p, 0, 1)
        _check("repetition_penalty", self.repetition_penalty, 0.01, 100)
        _check("seed", self.seed, 0, 2**63 - 1)

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token always wins."""
        return not self.do_sample or (self.temperature is not None and self.temperature < _COLDEST)


def _check(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise InvalidInput(f"{name}: must be between {low} and {high}, not {value}")


class TokenChooser:
    """Chooses the tokens of one answer.

    Args:
        context: the tokens said so far; only a repetition penalty looks at them.
        generator: source of randomness; by default one that is seeded with ``parameters.seed``.
    """

    def __init__(
        self,
        parameters: SamplingParameters,
        context: list[int],
        generator: torch.Generator | None = None,
    ) -> None:
        self._greedy = parameters.greedy
        self._penalty = _penalty(parameters)
        self._warpers = [] if self._greedy else _warpers(parameters)
        self._top_p = None if parameters.top_p in {None, 1.0} else parameters.top_p
        self._context = torch.tensor([context if self._penalty else []], dtype=torch.long)
        self._generator = generator
        if generator is None and not self._greedy:
            self._generator = torch.Generator()
            if parameters.seed is None:
                self._generator.seed()
            else:
                self._generator.manual_seed(parameters.seed)

    @torch.inference_mode()
    def choose(self, logits: torch.Tensor) -> int:
        """Return the id of the next token, given its logits [vocab_size] in float32.

        Raises:
            Broken: the logits are not numbers, so some server computes wrongly.
        """
        scores = logits.unsqueeze(0)
        if self._penalty is not None:
            scores = self._penalty(self._context, scores)
        peak, likeliest = scores.max(dim=-1, keepdim=True)
        if not math.isfinite(peak.item()):
            raise Broken("a server of the swarm returned values that are not numbers", "try again")
        token = int(likeliest.item()) if self._greedy else self._draw(scores - peak)
        if self._penalty is not None:
            self._context = torch.cat([self._context, torch.tensor([[token]])], dim=1)
        return token

    def _draw(self, scores: torch.Tensor) -> int:
        """Return a random token, given scores [1, vocab_size] whose largest is 0.

        That shift changes no probability, and keeps a low temperature from overflowing float32.
        """
        for warper in self._warpers:
            scores = warper(self._context, scores)
        candidates: torch.Tensor | None = None
        if self._top_p is not None:
            scores, candidates = _nucleus(self._context, scores, self._top_p)
        # The inverse of the distribution at one random number: torch.multinomial draws one per token.
        cumulative = scores.softmax(dim=-1, dtype=torch.float64).cumsum(dim=-1)
        threshold = torch.rand((1, 1), generator=self._generator) * cumulative[:, -1:]
        index = torch.searchsorted(cumulative, threshold, right=True)
        return int((index if candidates is None else candidates.gather(1, index)).item())


def _nucleus(
    context: torch.Tensor, scores: torch.Tensor, top_p: float
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Leave the likeliest tokens that together have the probability ``top_p``.

    The warper sorts what it is given, which takes milliseconds for a whole vocabulary. If the likeliest few
    hundred have more than that probability, it is enough to give it these, with their share of it.

    Returns:
        Scores [1, n] and the token ids [1, n] that they belong to, or ``None`` for the whole vocabulary.
    """
    best, candidates = scores.topk(min(_NUCLEUS_CANDIDATES, scores.shape[-1]))
    mass = (best.logsumexp(dim=-1) - scores.logsumexp(dim=-1)).exp().item()
    if mass <= top_p:
        return TopPLogitsWarper(top_p)(context, scores), None
    return TopPLogitsWarper(top_p / mass)(context, best), candidates


def _penalty(parameters: SamplingParameters) -> Any | None:
    penalty = parameters.repetition_penalty
    return RepetitionPenaltyLogitsProcessor(float(penalty)) if penalty not in {None, 1.0} else None


def _warpers(parameters: SamplingParameters) -> list[Any]:
    # The order is that of transformers' generate(), with top_p last: each sees what the one before left.
    warpers: list[Any] = []
    if parameters.temperature not in {None, 1.0}:
        warpers.append(TemperatureLogitsWarper(float(parameters.temperature)))
    if parameters.top_k:
        warpers.append(TopKLogitsWarper(parameters.top_k))
    return warpers
