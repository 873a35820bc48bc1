"""What the endpoint answers, as its OpenAPI document describes it. Tests hold the answers against it."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PetalsAnswer(_Answer):
    """What was generated, in the form of chat.petals.dev."""

    ok: Literal[True]
    outputs: str
    stop: bool
    token_count: int
    stop_reason: Literal["stop_sequence", "end_of_text", "length"]


class PetalsFailure(_Answer):
    """What is wrong and what to do, in the form of chat.petals.dev."""

    ok: Literal[False]
    error: str
    traceback: Annotated[str, Field(description="the same line, for clients that show this field")]


class OpenAIProblem(_Answer):
    """What is wrong and what to do."""

    message: str
    type: Literal["invalid_request_error", "server_error"]
    param: str | None
    code: str | None


class OpenAIFailure(_Answer):
    """An error in the form of OpenAI's API."""

    error: OpenAIProblem


class ListedModel(_Answer):
    """A model that requests may name."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ListedModels(_Answer):
    """All of them."""

    object: Literal["list"]
    data: list[ListedModel]


class Usage(_Answer):
    """How many tokens an answer took."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class AnsweringServer(_Answer):
    """A server that computed blocks of the answer, from ``start_block`` to before ``end_block``."""

    peer_id: str
    public_name: str | None
    start_block: int
    end_block: int


class Computed(_Answer):
    """What an answer tells beyond OpenAI's API."""

    servers: list[AnsweringServer]


class AnsweredCall(_Answer):
    """A function that the model wants to be called."""

    id: str
    type: Literal["function"]
    function: dict[str, Any]


class ChatAnswer(_Answer):
    """What the model says."""

    role: Literal["assistant"]
    content: str | None
    tool_calls: list[AnsweredCall] = []


class ChatAnswerChoice(_Answer):
    """One of the answers to a chat."""

    index: int
    message: ChatAnswer
    logprobs: dict[str, Any] | None
    finish_reason: Literal["stop", "length", "tool_calls"]


class ChatCompletion(_Answer):
    """The answers to a chat; with ``stream`` they come as events ``chat.completion.chunk`` instead."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatAnswerChoice]
    usage: Usage
    calyx: Computed | None = None


class TextAnswerChoice(_Answer):
    """One of the answers to a text."""

    index: int
    text: str
    logprobs: dict[str, Any] | None
    finish_reason: Literal["stop", "length"]


class TextCompletion(_Answer):
    """The answers to a text; with ``stream`` they come as events of the same form."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextAnswerChoice]
    usage: Usage
    calyx: Computed | None = None
