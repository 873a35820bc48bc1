"""Which tokens of an arena belong to whom: extents without gaps inside, moved together when gaps outside hurt."""

from typing import NamedTuple


class Move(NamedTuple):
    """Tokens to copy from ``source`` to ``target``; a target may overlap its own source, never another's."""

    source: int
    target: int
    size: int


class Extents:
    """Hands out consecutive tokens, the lowest that fit.

    Args:
        capacity: how many tokens there are.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._starts: dict[int, int] = {}
        self._sizes: dict[int, int] = {}

    @property
    def used(self) -> int:
        """Return how many tokens are handed out."""
        return sum(self._sizes.values())

    def start(self, owner: int) -> int:
        """Return the first token of the owner's extent; KeyError if it has none."""
        return self._starts[owner]

    def place(self, owner: int, size: int) -> list[Move]:
        """Give ``owner`` an extent, and return what must be moved first, in this order, so that it fits.

        Raises:
            MemoryError: fewer tokens than ``size`` are free.
        """
        if owner in self._starts:
            raise ValueError(f"owner {owner} has an extent already")
        if self.used + size > self.capacity:
            raise MemoryError(f"{size} tokens are wanted, {self.capacity - self.used} are free")
        moves: list[Move] = []
        start = self._gap(size)
        if start is None:
            moves, start = self._close_gaps()
        self._starts[owner], self._sizes[owner] = start, size
        return moves

    def free(self, owner: int) -> None:
        """Take the owner's extent back; KeyError if it has none."""
        del self._starts[owner], self._sizes[owner]

    def _in_order(self) -> list[int]:
        return sorted(self._starts, key=lambda owner: (self._starts[owner], self._sizes[owner]))

    def _gap(self, size: int) -> int | None:
        end = 0
        for owner in self._in_order():
            if self._starts[owner] - end >= size:
                return end
            end = self._starts[owner] + self._sizes[owner]
        return end if self.capacity - end >= size else None

    def _close_gaps(self) -> tuple[list[Move], int]:
        moves, end = [], 0
        for owner in self._in_order():
            start, size = self._starts[owner], self._sizes[owner]
            if start != end:
                moves.append(Move(start, end, size))
                self._starts[owner] = end
            end += size
        return moves, end
