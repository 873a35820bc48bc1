"""What the endpoint needs of the swarm, and nothing more: ``services.swarm.model`` has it, tests fake it."""

from collections.abc import Sequence
from typing import Protocol

from transformers import PreTrainedTokenizerBase

from services.endpoint.sampling import TokenChooser


class Server(Protocol):
    """A server of the swarm that answers, and which blocks of it: ``start_block`` to before ``end_block``."""

    @property
    def peer_id(self) -> str:
        """Its identity in the swarm."""

    @property
    def public_name(self) -> str | None:
        """What it calls itself, in a few printable letters."""

    @property
    def start_block(self) -> int:
        """The first of the blocks."""

    @property
    def end_block(self) -> int:
        """One more than the last of them."""


class Session(Protocol):
    """The servers' caches for one text; one call at a time."""

    @property
    def position(self) -> int:
        """How many tokens the servers have already."""

    @property
    def servers(self) -> Sequence[Server]:
        """Who answers now, in the order of blocks; nobody before the first step and after closing."""

    async def next_tokens(
        self, token_ids: Sequence[int], chooser: TokenChooser, guesses: Sequence[int]
    ) -> list[int]:
        """Send these tokens; return those that are chosen to follow: one, and one more for each guess that was right.

        The servers then have all but the last one of them.

        Raises:
            Unavailable: some blocks have no server.
            Broken: a server computes what are no numbers.
        """

    async def go_back(self, position: int) -> None:
        """Let the servers forget the tokens after the first ``position``."""

    async def close(self) -> None:
        """Break off the step that runs and free the servers' caches; calling it again changes nothing."""


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
    def vocab_size(self) -> int:
        """How many tokens it knows."""

    @property
    def eos_token_ids(self) -> frozenset[int]:
        """Tokens that end a text."""

    @property
    def num_blocks(self) -> int:
        """How many blocks it has."""

    @property
    def memory_bytes(self) -> int:
        """Bytes of this process's memory that its embeddings, norm and head take."""

    def missing_blocks(self) -> list[int]:
        """Ask the swarm now which blocks no server has; blocks its caller for seconds at most."""

    async def guess(self, tokens: Sequence[int], count: int) -> list[int]:
        """Let a small model guess at most ``count`` tokens that follow; none if there is none, or it is busy."""

    def open_session(self, max_length: int) -> Session:
        """Prepare a session of that many tokens; asks the network nothing yet."""

    def close(self) -> None:
        """Leave the swarm."""
