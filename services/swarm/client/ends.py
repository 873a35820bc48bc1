"""What of a model is not in the swarm: embeddings before the blocks; norm, head and the choice of a token behind."""

import inspect
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Protocol

import torch
from torch import nn
from transformers import PreTrainedModel

_ROWS = 16
"""In every product of the head, if numbers must not depend on how many texts wait; products of other sizes round
otherwise."""


class Chooser(Protocol):
    """Chooses the tokens of one text."""

    @classmethod
    def choose_all(cls, choosers: Sequence[Any], logits: torch.Tensor) -> list[int | Exception]:
        """Choose the next token of many texts at once.

        Args:
            choosers: choosers of this class, one for each text.
            logits: [texts, vocabulary] in float32.

        Returns:
            A token for each text, or what keeps it from having one.
        """


@dataclass(frozen=True)
class ToEmbed:
    """Tokens on their way into the swarm, and how many of their text came before them."""

    token_ids: tuple[int, ...]
    position: int


@dataclass(frozen=True)
class ToRead:
    """What came out of the last block for a text's last tokens.

    Attributes:
        hidden: [1 + guesses, hidden].
        chooser: chooses the tokens that follow; without one, the logits are wanted that follow the last token.
        guesses: the tokens behind the first one, which were sent before anybody knew whether they would be chosen.
    """

    hidden: torch.Tensor
    chooser: Chooser | None
    guesses: Sequence[int] = ()


@dataclass
class _Reading:
    """A text whose tokens are being chosen one after the other.

    Attributes:
        request: what is wanted.
        row: where the logits of its first token are.
        tokens: those that were chosen.
        problem: what keeps it from having more.
    """

    request: ToRead
    row: int
    tokens: list[int] = field(default_factory=list)
    problem: Exception | None = None

    def take(self, answer: int | Exception) -> None:
        if isinstance(answer, Exception):
            self.problem = answer
        else:
            self.tokens.append(answer)

    @property
    def goes_on(self) -> bool:
        """Whether the latest token was guessed, so that what follows it is known too."""
        guesses = self.request.guesses[: len(self.tokens)]
        return self.problem is None and len(guesses) == len(self.tokens) and guesses[-1] == self.tokens[-1]


class _Embedded(Exception):
    """Carries the first layer's input out of the model's ``forward``, of which no more is wanted."""


class Gap(nn.Module):
    """Stands in a model's list of layers for all of them, and lets the ways in and out be run apart."""

    def __init__(self) -> None:
        super().__init__()
        self.outputs: torch.Tensor | None = None
        """What the blocks made; None while only embeddings are wanted."""

    def forward(self, hidden_states: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        """Return what the blocks made.

        Raises:
            _Embedded: there is nothing, as only the embeddings are wanted.
        """
        if self.outputs is None:
            raise _Embedded(hidden_states)
        return self.outputs


class Ends:
    """Runs a model's own ``forward`` around a gap, so that nothing of any architecture is imitated here.

    One thread at a time.

    Args:
        make: makes the model, given the gap for its list of layers.
        invariant: whether a text's numbers must not depend on those that wait at the same time.
    """

    def __init__(self, make: Callable[[nn.Module], PreTrainedModel], *, invariant: bool = False) -> None:
        self._invariant = invariant
        self._gap = Gap()
        self._model = make(self._gap)
        self.dtype: torch.dtype = self._model.dtype
        self._takes_positions = "position_ids" in inspect.signature(self._model.base_model.forward).parameters

    @property
    def memory_bytes(self) -> int:
        """Bytes of all weights; those that embeddings and head share count once."""
        tensors = (*self._model.parameters(), *self._model.buffers())
        return sum(tensor.nbytes for tensor in tensors)

    @torch.inference_mode()
    def embed(self, requests: Sequence[ToEmbed]) -> list[torch.Tensor]:
        """Return each text's hidden states [1, tokens, hidden]."""
        by_length = defaultdict(list)
        for index, request in enumerate(requests):
            by_length[len(request.token_ids)].append(index)
        embedded: dict[int, torch.Tensor] = {}
        for length, indices in by_length.items():
            positions = torch.tensor([[requests[index].position] for index in indices])
            rows = self._first_input(
                torch.tensor([requests[index].token_ids for index in indices]),
                positions + torch.arange(length),
            )
            embedded.update(zip(indices, rows.split(1), strict=True))
        return [embedded[index] for index in range(len(requests))]

    def _first_input(self, token_ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        self._gap.outputs = None
        extra = {"position_ids": positions} if self._takes_positions else {}
        try:
            self._model.base_model(input_ids=token_ids, use_cache=False, **extra)
        except _Embedded as carrier:
            hidden: torch.Tensor = carrier.args[0]
            return hidden
        raise AssertionError("the model's forward did not reach its layers")

    @torch.inference_mode()
    def read(self, requests: Sequence[ToRead]) -> list[torch.Tensor | list[int] | Exception]:
        """Return each text's float32 logits [vocabulary] or, where it has a chooser, the tokens that follow.

        One token follows for sure, and one more behind each guess that was right. They are chosen one after the
        other, as if each had been sent alone.
        """
        logits = self._logits(torch.cat([request.hidden for request in requests]))
        ends = accumulate(len(request.hidden) for request in requests)
        texts = [_Reading(one, end - len(one.hidden)) for one, end in zip(requests, ends, strict=True)]
        open_ones = [text for text in texts if text.request.chooser is not None]
        while open_ones:
            _choose(open_ones, logits)
            open_ones = [text for text in open_ones if text.goes_on]
        return [
            logits[text.row + len(text.request.hidden) - 1]
            if text.request.chooser is None
            else text.problem or text.tokens
            for text in texts
        ]

    def _logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return logits [tokens, vocabulary] of hidden states [tokens, hidden], in one product."""
        if not self._invariant:
            return self._product(hidden)
        parts = [self._product(_padded(part))[: len(part)] for part in hidden.split(_ROWS)]
        return torch.cat(parts)

    def _product(self, hidden: torch.Tensor) -> torch.Tensor:
        self._gap.outputs = hidden.to(self.dtype).unsqueeze(1)
        logits: torch.Tensor = self._model(inputs_embeds=self._gap.outputs, use_cache=False).logits
        return logits[:, 0].float()


def _padded(hidden: torch.Tensor) -> torch.Tensor:
    """Return [``_ROWS``, hidden], of which the last rows are nobody's."""
    rows = hidden.new_zeros(_ROWS, hidden.shape[1])
    rows[: len(hidden)] = hidden
    return rows


def _choose(texts: Sequence[_Reading], logits: torch.Tensor) -> None:
    """Let every text have one more token."""
    by_kind: dict[type[Chooser], list[_Reading]] = defaultdict(list)
    for text in texts:
        if text.request.chooser is not None:
            by_kind[type(text.request.chooser)].append(text)
    for kind, some in by_kind.items():
        indices = [text.row + len(text.tokens) for text in some]
        rows = logits if indices == list(range(len(logits))) else logits[indices]
        answers = kind.choose_all([text.request.chooser for text in some], rows)
        for text, answer in zip(some, answers, strict=True):
            text.take(answer)
