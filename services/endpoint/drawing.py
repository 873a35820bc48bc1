"""One random token for each of many texts, given scores [texts, vocabulary] and a number 0…1 [texts, 1] for each."""

import math

import torch

_NUCLEUS_CANDIDATES = 256


def draw_from_all(scores: torch.Tensor, thresholds: torch.Tensor) -> torch.Tensor:
    """Draw a token for each text: its distribution, inverted at one number. torch.multinomial draws one per token."""
    cumulative = scores.softmax(dim=-1, dtype=torch.float64).cumsum(dim=-1)
    found = torch.searchsorted(cumulative, thresholds * cumulative[:, -1:], right=True)
    return found[:, 0].clamp(max=scores.shape[-1] - 1)


def draw_from_nuclei(scores: torch.Tensor, limits: torch.Tensor, thresholds: torch.Tensor) -> torch.Tensor:
    """Draw a token for each text from its likeliest that together have the probabilities ``limits`` [texts, 1].

    Sorting a whole vocabulary takes milliseconds. Where the likeliest few hundred have more than the wanted
    probability, they are enough.
    """
    best, candidates = scores.topk(min(_NUCLEUS_CANDIDATES, scores.shape[-1]))
    shares = (best.double() - scores.double().logsumexp(dim=-1, keepdim=True)).exp()
    too_few = (shares.sum(dim=-1) <= limits[:, 0]).nonzero()[:, 0]
    tokens = _pick(best, candidates, shares, limits, thresholds)
    if len(too_few):
        ordered, places = scores[too_few].sort(dim=-1, descending=True)
        shares = ordered.double().softmax(dim=-1)
        tokens[too_few] = _pick(ordered, places, shares, limits[too_few], thresholds[too_few])
    return tokens


def _pick(
    ordered: torch.Tensor,
    tokens: torch.Tensor,
    shares: torch.Tensor,
    limits: torch.Tensor,
    thresholds: torch.Tensor,
) -> torch.Tensor:
    """Draw one of ``tokens``, whose scores are in descending order, from those that reach the limit; never none."""
    likelier = shares.cumsum(dim=-1) - shares
    outside = likelier >= limits
    outside[:, 0] = False
    index = draw_from_all(ordered.masked_fill(outside, -math.inf), thresholds)
    return tokens.gather(1, index.unsqueeze(1))[:, 0]
