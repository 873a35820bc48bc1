"""Answers to a plain text in the form of the OpenAI API."""

from typing import Any

from services.endpoint.generation import Chunk
from services.endpoint.openai.logprobs import LogprobWriter


class TextChoice:
    """Writes one answer, whole or as it grows.

    Args:
        index: which of several answers it is.
        logprobs: writes probabilities, if they were asked for.
    """

    def __init__(self, index: int, logprobs: LogprobWriter | None) -> None:
        self._index = index
        self._logprobs = logprobs
        self._length = 0

    def stream(self, chunk: Chunk) -> list[dict[str, Any]]:
        """Return the choices of the stream's chunks that carry a piece of the answer."""
        return [self.whole(chunk)]

    def whole(self, chunk: Chunk) -> dict[str, Any]:
        """Return the choice that carries a piece of the answer, or all of it."""
        told = self._logprobs.plain(chunk.logprobs, self._length) if self._logprobs else None
        self._length += len(chunk.text)
        reason = None
        if chunk.finish is not None:
            reason = "length" if chunk.finish.reason == "length" else "stop"
        return {"index": self._index, "text": chunk.text, "logprobs": told, "finish_reason": reason}
