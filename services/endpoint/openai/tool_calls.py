"""Finds the calls of tools in an answer: ``<tool_call>{"name": …, "arguments": {…}}</tool_call>``.

Models of the Hermes and Qwen kinds write calls so, and others that were trained on their chats. What looks otherwise
is the answer's text.
"""

import json
from dataclasses import dataclass

from services.endpoint.stopping import beginning_of

_BEGIN, _END = "<tool_call>", "</tool_call>"


@dataclass(frozen=True)
class FoundCall:
    """A call: the function's name, and its arguments as JSON."""

    name: str
    arguments: str


class ToolCallReader:
    """Reads one answer as it grows; nothing of a call is ever shown as text.

    Args:
        most: how many calls are wanted; those behind them are left out.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = most
        self._found = 0
        self._rest = ""

    def push(self, text: str) -> list[str | FoundCall]:
        """Take the text that follows; return texts and calls that are complete now."""
        self._rest += text
        parts: list[str | FoundCall] = []
        while True:
            before, begun, after = self._rest.partition(_BEGIN)
            inside, ended, rest = after.partition(_END)
            shown = (before if begun else before[: beginning_of([_BEGIN], before)]).rstrip()
            held = before[len(shown) :] + begun + inside
            parts.append(shown)
            if not ended:
                self._rest = held
                return self._wanted(parts)
            parts.append(_read(inside) or held + ended)
            self._rest = rest

    def finish(self) -> list[str | FoundCall]:
        """Return what was held back, now that nothing follows; a call may lack its end."""
        before, begun, inside = self._rest.partition(_BEGIN)
        self._rest = ""
        return self._wanted([(_read(inside) if begun else None) or before + begun + inside])

    def _wanted(self, parts: list[str | FoundCall]) -> list[str | FoundCall]:
        """Leave out calls beyond the most, and space that only sets them off."""
        wanted: list[str | FoundCall] = []
        for part in parts:
            if isinstance(part, FoundCall):
                self._found += 1
                if self._most is None or self._found <= self._most:
                    wanted.append(part)
            elif part.strip() or (part and not self._found):
                wanted.append(part)
        return wanted


def _read(text: str) -> FoundCall | None:
    try:
        call = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        return None
    arguments = call.get("arguments", {})
    return FoundCall(call["name"], arguments if isinstance(arguments, str) else json.dumps(arguments))
