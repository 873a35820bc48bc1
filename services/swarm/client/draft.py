"""A small model, whole in this process, that guesses how texts go on for a large one in the swarm.

Speculative decoding (Leviathan, Kalman and Matias 2023, https://arxiv.org/abs/2211.17192): a pass through the swarm
costs little more with a few guessed tokens, and each right one spares a pass. The guesses are greedy; whoever reads
the large model's logits decides which are right, so the text stays the large model's.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

import torch
from transformers import DynamicCache, PreTrainedModel

_TEXTS = 4
"""So many keep their keys and values, those that were guessed for last; others pay for their whole text again."""
_PART = 128
"""Of a text that is read in one piece. The thread also computes heads, for which others wait."""


@dataclass(eq=False)
class _Text:
    """The tokens whose keys and values a cache has."""

    tokens: list[int] = field(default_factory=list)
    cache: DynamicCache = field(default_factory=DynamicCache)

    def shares(self, tokens: Sequence[int]) -> int:
        """Return how many tokens both begin with."""
        pairs = enumerate(zip(self.tokens, tokens, strict=False))
        both = min(len(self.tokens), len(tokens))
        return next((place for place, (own, other) in pairs if own != other), both)

    def cut(self, length: int) -> None:
        self.cache.crop(length - len(self.tokens))
        del self.tokens[length:]


class Draft:
    """Goes on with any text; belongs to one event loop.

    Args:
        model: the small model.
        max_length: the most tokens that it can read.
        vocab_size: of the large model; tokens beyond are not its.
        thread: where it runs.
    """

    def __init__(self, model: PreTrainedModel, max_length: int, vocab_size: int, thread: Executor) -> None:
        self._model, self._max_length, self._vocab_size, self._thread = model, max_length, vocab_size, thread
        self._texts: list[_Text] = []
        self._busy = False

    @property
    def memory_bytes(self) -> int:
        """Bytes of its weights."""
        return sum(tensor.nbytes for tensor in (*self._model.parameters(), *self._model.buffers()))

    async def go_on(self, tokens: Sequence[int], count: int) -> list[int]:
        """Return ``count`` tokens that may follow; fewer or none if the text is too long for it.

        There is none either while it guesses for another text: the processor computes heads as well, and many texts
        make better use of the swarm without guesses.
        """
        count = min(count, self._max_length - len(tokens))
        if self._busy or count < 1 or not tokens:
            return []
        self._busy = True
        try:
            return await self._go_on(tokens, count)
        finally:
            self._busy = False

    async def _go_on(self, tokens: Sequence[int], count: int) -> list[int]:
        # Not put back if the caller is cancelled: the thread may still be at it
        text = self._take(tokens)
        guesses: list[int] = []
        unread = list(tokens[len(text.tokens) :])
        while len(guesses) < count:
            part, unread = unread[:_PART], unread[_PART:]
            loop = asyncio.get_running_loop()
            token = await loop.run_in_executor(self._thread, self._read, text, part)
            if unread:
                continue
            if token >= self._vocab_size:
                break
            guesses.append(token)
            unread = [token]
        self._texts.append(text)
        return guesses

    def _take(self, tokens: Sequence[int]) -> _Text:
        """Return what is known of a text already, if that is most of it, and nothing else."""
        best = max(self._texts, key=lambda text: text.shares(tokens), default=_Text())
        if 2 * best.shares(tokens) < len(tokens):
            del self._texts[: len(self._texts) + 1 - _TEXTS]
            return _Text()
        self._texts.remove(best)
        # The last token is read in any case, for nobody remembers what follows it
        best.cut(min(best.shares(tokens), len(tokens) - 1))
        return best

    @torch.inference_mode()
    def _read(self, text: _Text, tokens: list[int]) -> int:
        """Return what most likely follows after these tokens, too."""
        logits = self._model(
            torch.tensor([tokens]), past_key_values=text.cache, use_cache=True, logits_to_keep=1
        ).logits
        text.tokens += tokens
        return int(logits[0, -1].argmax())
