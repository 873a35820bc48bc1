"""Messages and tools of a chat, as the OpenAI API has them and as chat templates read them."""

import json
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from services.endpoint.json_messages import Message
from services.endpoint.openai.fields import joined


class CalledFunction(Message):
    """A function that the model called, with its arguments in JSON."""

    name: str
    arguments: str


class ToolCall(Message):
    """A call in an earlier answer."""

    id: str | None = None
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(Message):
    """A message of the chat so far."""

    role: Literal["developer", "system", "user", "assistant", "tool"]
    content: Annotated[str | None, BeforeValidator(joined)] = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None

    @model_validator(mode="after")
    def _has_content(self) -> "ChatMessage":
        if self.content is None and not self.tool_calls:
            raise ValueError("its content is missing")
        return self

    def to_template(self) -> dict[str, Any]:
        """Return it as templates read it: arguments as an object, and nothing that is not there."""
        message = self.model_dump(exclude_none=True)
        message.setdefault("content", "")
        for call in message.get("tool_calls", ()):
            call["function"]["arguments"] = _object(call["function"]["arguments"])
        return message


class Function(Message):
    """What the model may call."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None


class Tool(Message):
    """A function that the model is told about."""

    type: Literal["function"]
    function: Function

    def to_template(self) -> dict[str, Any]:
        """Return it as templates read it."""
        tool = self.model_dump(exclude_none=True)
        tool["function"].setdefault("description", "")
        tool["function"].setdefault("parameters", {"type": "object", "properties": {}})
        return tool


def _object(arguments: str) -> Any:
    try:
        return json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
