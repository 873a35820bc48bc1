"""Answers of a chat in the form of the OpenAI API."""

from typing import Any
from uuid import uuid4

from services.endpoint.generation import Chunk, Finish
from services.endpoint.openai.logprobs import LogprobWriter
from services.endpoint.openai.schema import ChatRequest
from services.endpoint.openai.tool_calls import FoundCall, ToolCallReader
from services.endpoint.sampling import TokenLogprob


class ChatChoice:
    """Writes one answer, whole or as it grows.

    Args:
        index: which of several answers it is.
        request: what was asked for.
        logprobs: writes probabilities, if they were asked for.
    """

    def __init__(self, index: int, request: ChatRequest, logprobs: LogprobWriter | None) -> None:
        self._index = index
        most = 1 if request.parallel_tool_calls is False else None
        self._reader = ToolCallReader(most) if request.offered_tools else None
        self._logprobs = logprobs
        self._untold: list[TokenLogprob] = []
        self._calls = 0
        self._begun = False

    def stream(self, chunk: Chunk) -> list[dict[str, Any]]:
        """Return the choices of the stream's chunks that carry a piece of the answer."""
        self._untold += chunk.logprobs
        choices = []
        if not self._begun:
            self._begun = True
            choices.append(self._choice(delta={"role": "assistant", "content": ""}))
        for part in self._parts(chunk):
            if isinstance(part, FoundCall):
                delta: dict[str, Any] = {"tool_calls": [{"index": self._calls, **_written(part)}]}
                self._calls += 1
            else:
                delta = {"content": part}
            choices.append(self._choice(delta=delta, logprobs=self._told()))
        if chunk.finish is not None:
            told = self._told() if self._untold else None
            choices.append(self._choice(delta={}, logprobs=told, finish_reason=self._reason(chunk.finish)))
        return choices

    def whole(self, chunk: Chunk) -> dict[str, Any]:
        """Return the choice of an answer that came as one piece."""
        self._untold += chunk.logprobs
        parts = self._parts(chunk)
        text = "".join(part for part in parts if isinstance(part, str))
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if calls := [_written(part) for part in parts if isinstance(part, FoundCall)]:
            message.update(content=text or None, tool_calls=calls)
        self._calls += len(calls)
        reason = None if chunk.finish is None else self._reason(chunk.finish)
        return self._choice(message=message, logprobs=self._told(), finish_reason=reason)

    def _parts(self, chunk: Chunk) -> list[str | FoundCall]:
        """Return the texts and calls of tools that a piece completes."""
        if self._reader is None:
            return [chunk.text] if chunk.text else []
        parts = self._reader.push(chunk.text)
        return parts if chunk.finish is None else parts + self._reader.finish()

    def _reason(self, finish: Finish) -> str:
        if finish.reason == "length":
            return "length"
        return "tool_calls" if self._calls else "stop"

    def _told(self) -> dict[str, Any] | None:
        told, self._untold = self._untold, []
        return self._logprobs.chat(told) if self._logprobs else None

    def _choice(self, **fields: Any) -> dict[str, Any]:
        return {"index": self._index, **{"logprobs": None, "finish_reason": None, **fields}}


def _written(call: FoundCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": f"call_{uuid4().hex}", "type": "function", "function": function}
