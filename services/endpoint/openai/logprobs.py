"""Probabilities of tokens in the two forms of the OpenAI API."""

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from services.endpoint.sampling import TokenLogprob
from services.endpoint.token_bytes import TokenBytes

_IMPOSSIBLE = -9999.0
"""What the API writes for a probability of zero: JSON has no infinity."""


class LogprobWriter:
    """Writes the probabilities of one model's tokens."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._bytes_of = TokenBytes(tokenizer)

    def chat(self, tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
        """Return the ``logprobs`` of a chat's choice."""
        return {
            "content": [
                {
                    **self._entry(one.token, one.logprob),
                    "top_logprobs": [self._entry(token, logprob) for token, logprob in one.likeliest],
                }
                for one in tokens
            ],
            "refusal": None,
        }

    def plain(self, tokens: Sequence[TokenLogprob], offset: int) -> dict[str, Any]:
        """Return the ``logprobs`` of a completion's choice, whose text begins at ``offset``."""
        texts = [self._text(one.token) for one in tokens]
        offsets = []
        for text in texts:
            offsets.append(offset)
            offset += len(text)
        return {
            "tokens": texts,
            "token_logprobs": [_finite(one.logprob) for one in tokens],
            "top_logprobs": [
                {self._text(token): _finite(logprob) for token, logprob in one.likeliest} for one in tokens
            ],
            "text_offset": offsets,
        }

    def _entry(self, token: int, logprob: float) -> dict[str, Any]:
        return {
            "token": self._text(token),
            "logprob": _finite(logprob),
            "bytes": list(self._bytes_of(token)),
        }

    def _text(self, token: int) -> str:
        return self._bytes_of(token).decode(errors="replace")


def _finite(logprob: float) -> float:
    return max(logprob, _IMPOSSIBLE)
