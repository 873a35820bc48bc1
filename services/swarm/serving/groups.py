"""Batches of one fixed size, so that no token's numbers depend on how many others run beside it.

Matrix products take other paths for other numbers of rows, and round otherwise: see "Defeating Nondeterminism in LLM
Inference" (He et al. 2025, https://thinkingmachines.ai/blog/defeating-nondeterminism-in-llm-inference/). With as many
rows in every product, a row's result is its own. The price: what is left of a group is filled with rows that nobody
wants.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from services.swarm.serving.pieces import Piece

GROUP_TOKENS = 16
"""Rows in every product. More make a full house faster, and a single session slower."""


@dataclass(frozen=True)
class Group:
    """Tokens that run together.

    Attributes:
        pieces: whose they are.
        rows: where each stands among the tokens of the whole batch.
    """

    pieces: tuple[Piece, ...]
    rows: tuple[int, ...]


def groups(pieces: Sequence[Piece]) -> Iterator[Group]:
    """Yield the tokens of a batch in groups of ``GROUP_TOKENS`` at most, those of a piece in their order.

    A piece is cut at multiples of that number from its beginning, wherever other pieces leave room: where it is cut
    shows in the last bits of its results too.
    """
    taken: list[Piece] = []
    rows: list[int] = []
    done = 0
    for piece in pieces:
        for start in range(0, piece.tokens, GROUP_TOKENS):
            count = min(GROUP_TOKENS, piece.tokens - start)
            if len(rows) + count > GROUP_TOKENS:
                yield Group(tuple(taken), tuple(rows))
                taken, rows = [], []
            taken.append(Piece(piece.start, piece.position + start, count))
            rows += range(done + start, done + start + count)
        done += piece.tokens
    if rows:
        yield Group(tuple(taken), tuple(rows))
