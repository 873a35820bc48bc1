"""What of a model is not in the swarm: embeddings before the blocks; norm, head and the choice of a token behind."""

import inspect
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn
from transformers import PreTrainedModel


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
    """What came out of the last block for a text's last token: [hidden]; without a chooser, logits are wanted."""

    hidden: torch.Tensor
    chooser: Chooser | None


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
    """

    def __init__(self, make: Callable[[nn.Module], PreTrainedModel]) -> None:
        self._gap = Gap()
        self._model = make(self._gap)
        self.dtype: torch.dtype = self._model.dtype
        self._takes_positions = "position_ids" in inspect.signature(self._model.base_model.forward).parameters

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
    def read(self, requests: Sequence[ToRead]) -> list[torch.Tensor | int | Exception]:
        """Return each text's float32 logits [vocabulary] or, where it has a chooser, its next token."""
        logits = self._logits(torch.stack([request.hidden for request in requests]))
        answers: list[torch.Tensor | int | Exception] = list(logits)
        by_kind = defaultdict(list)
        for index, request in enumerate(requests):
            if request.chooser is not None:
                by_kind[type(request.chooser)].append(index)
        for kind, indices in by_kind.items():
            rows = logits if len(indices) == len(requests) else logits[indices]
            chosen = kind.choose_all([requests[index].chooser for index in indices], rows)
            for index, token in zip(indices, chosen, strict=True):
                answers[index] = token
        return answers

    def _logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return logits [texts, vocabulary] of hidden states [texts, hidden], in one product."""
        self._gap.outputs = hidden.to(self.dtype).unsqueeze(1)
        logits: torch.Tensor = self._model(inputs_embeds=self._gap.outputs, use_cache=False).logits
        return logits[:, 0].float()
