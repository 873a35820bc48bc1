"""Finds the texts that end an answer, also across the borders of tokens."""

from collections.abc import Sequence


class StopSequences:
    """Watches the text of one answer.

    The sequence that is complete first ends the answer; of those that end at the same place, the longest.

    Args:
        sequences: what ends the answer.
        kept: whether the sequence is part of the answer. Otherwise text that may be the beginning of one is held
            back until it is known whether it is.
    """

    def __init__(self, sequences: Sequence[str], kept: bool) -> None:
        self._sequences = sequences
        self._kept = kept
        self._begun = ""
        """The longest end of the text that one of the sequences begins with: none can begin before it."""

    def push(self, text: str) -> tuple[str, str | None]:
        """Take the text that follows; return what of the answer may be shown now, and the sequence that ended it."""
        seen = self._begun + text
        known = len(self._begun) if self._kept else 0
        ends = [
            (seen.index(sequence) + len(sequence), -len(sequence), sequence)
            for sequence in self._sequences
            if sequence in seen
        ]
        if ends:
            end, _, sequence = min(ends)
            self._begun = ""
            return seen[known : end if self._kept else end - len(sequence)], sequence
        border = beginning_of(self._sequences, seen)
        self._begun = seen[border:]
        return seen[known : None if self._kept else border], None

    def flush(self) -> str:
        """Return what was held back, now that nothing follows."""
        held = "" if self._kept else self._begun
        self._begun = ""
        return held


def beginning_of(sequences: Sequence[str], text: str) -> int:
    """Return where the end of a text begins that may be the beginning of a sequence; its length if none may be."""
    longest = max(map(len, sequences), default=1) - 1
    for start in range(max(0, len(text) - longest), len(text)):
        if any(sequence.startswith(text[start:]) for sequence in sequences):
            return start
    return len(text)
