"""What the endpoint needs of the swarm, and nothing more: ``services.swarm.model`` has it, tests fake it."""

from collections.abc import Sequence
from typing import Protocol

import torch
from transformers import PreTrainedTokenizerBase


class Session(Protocol):
    """The servers' caches for one text. Blocks its caller; belongs to one thread at a time."""

    @property
    def position(self) -> int:
        """How many tokens the servers have already."""

    def step(self, token_ids: Sequence[int]) -> torch.Tensor:
        """Send these tokens; return float32 logits [vocab_size] of the token after the last of them.

        Raises:
            Unavailable: some blocks have no server.
        """

    def close(self) -> None:
        """Free the servers' caches; calling it again changes nothing."""


class Model(Protocol):
    """A model whose blocks are in the swarm; everything else of it is in this process."""

    @property
    def name(self) -> str:
        """Its name on the hub."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Turns text into token ids and back."""

    @property
    def max_length(self) -> int:
        """The most tokens, prompt and answer together, that a session may hold."""

    @property
    def eos_token_ids(self) -> frozenset[int]:
        """Tokens that end a text."""

    @property
    def num_blocks(self) -> int:
        """How many blocks it has."""

    def missing_blocks(self) -> list[int]:
        """Ask the swarm now which blocks no server has; blocks its caller for seconds at most."""

    def open_session(self, max_length: int) -> Session:
        """Prepare a session of that many tokens; asks the network nothing yet."""

    def close(self) -> None:
        """Leave the swarm."""
