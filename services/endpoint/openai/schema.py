"""What requests of the OpenAI API hold, and what it means to the generation core.

Fields that this file does not know are ignored, as OpenAI's clients send new ones before servers know them. Those
that it knows and that cannot be done are refused by name.
"""

import hashlib
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from services.endpoint.conversation import Request
from services.endpoint.grammar import Grammar
from services.endpoint.json_messages import Message
from services.endpoint.openai.fields import listed, numbered, unsupported
from services.endpoint.openai.formats import ResponseFormat
from services.endpoint.openai.messages import ChatMessage, Tool
from services.endpoint.sampling import MAX_LOGPROBS, SamplingParameters

MAX_CHOICES = 128
_SEEDS = 2**63

_Count = Annotated[int, Field(ge=1)]
_Likeliest = Annotated[int, Field(ge=0, le=MAX_LOGPROBS)]


class StreamOptions(Message):
    """How to stream."""

    include_usage: bool | None = None


class Sampled(Message):
    """What requests for chats and for plain texts share."""

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    max_tokens: _Count | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: Annotated[int, Field(ge=-_SEEDS, lt=_SEEDS)] | None = None
    stop: Annotated[list[str] | None, BeforeValidator(listed)] = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    logit_bias: Annotated[dict[int, float] | None, BeforeValidator(numbered)] = None

    @property
    def choices(self) -> int:
        """How many answers are asked for."""
        return self.n or 1

    @property
    def with_usage(self) -> bool:
        """Whether a stream ends with a chunk of token counts."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def to_request(
        self,
        prompt: list[int],
        choice: int,
        max_tokens: int,
        logprobs: int | None,
        grammar: Grammar | None = None,
    ) -> Request:
        """Translate it for the generation core.

        Args:
            prompt: what the model reads.
            choice: which of several answers this is: each is drawn with a seed of its own.
            max_tokens: the most tokens of the answer.
            logprobs: how many likeliest tokens are told beside each chosen one; ``None``: no probabilities at all.
            grammar: what the answer must be.

        Raises:
            InvalidInput: a value is out of its range.
        """
        return Request(
            prompt=tuple(prompt),
            sampling=SamplingParameters(
                do_sample=True,
                temperature=self.temperature,
                top_k=None if self.top_k == -1 else self.top_k,
                top_p=self.top_p,
                repetition_penalty=self.repetition_penalty,
                seed=None if self.seed is None else seed_of_choice(self.seed, choice),
                presence_penalty=self.presence_penalty or 0.0,
                frequency_penalty=self.frequency_penalty or 0.0,
                logit_bias=self.logit_bias or {},
                logprobs=logprobs,
                grammar=grammar,
            ),
            max_new_tokens=max_tokens,
            stop_sequences=tuple(self.stop or ()),
            keep_stop=False,
            tokens_per_chunk=1 if self.stream else None,
        )


class ChatRequest(Sampled):
    """``POST /v1/chat/completions``."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_completion_tokens: _Count | None = None
    logprobs: bool | None = None
    top_logprobs: _Likeliest | None = None
    tools: list[Tool] | None = None
    tool_choice: Annotated[Any, unsupported("send 'auto' or 'none'", "auto", "none")] = None
    parallel_tool_calls: bool | None = None
    continue_final_message: bool | None = None
    response_format: ResponseFormat | None = None
    functions: Annotated[Any, unsupported("send tools", [])] = None
    function_call: Annotated[Any, unsupported("send tool_choice", "auto", "none")] = None
    modalities: Annotated[Any, unsupported("ask for text alone", ["text"])] = None
    audio: Annotated[Any, unsupported("ask for text alone")] = None

    @property
    def offered_tools(self) -> list[Tool]:
        """The functions that the model may call in this answer."""
        return [] if self.tool_choice == "none" else self.tools or []

    @property
    def wanted_schema(self) -> dict[str, Any] | None:
        """The JSON schema that answers must keep to; ``None``: they are any text."""
        return self.response_format.wanted if self.response_format else None

    @property
    def answer_tokens(self) -> int | None:
        """The most tokens of an answer, if the request says it."""
        return self.max_completion_tokens or self.max_tokens


class CompletionRequest(Sampled):
    """``POST /v1/completions``; a prompt may be text or tokens, one or several."""

    prompt: str | list[str] | list[int] | list[list[int]]
    logprobs: _Likeliest | None = None
    echo: Annotated[Any, unsupported("put the prompt before the answer yourself", False)] = None
    suffix: Annotated[Any, unsupported("leave it out", "")] = None
    best_of: Annotated[Any, unsupported("send n alone", 1)] = None

    @property
    def prompts(self) -> list[str | list[int]]:
        """The prompts, each answered by itself."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if self.prompt and isinstance(self.prompt[0], int):
            return [[token for token in self.prompt if isinstance(token, int)]]
        return [prompt for prompt in self.prompt if not isinstance(prompt, int)]


def seed_of_choice(seed: int, choice: int) -> int:
    """Return the seed of one of several answers: the first has the caller's own, no two have the same."""
    if choice == 0:
        return seed % _SEEDS
    digest = hashlib.sha256(f"{seed}:{choice}".encode()).digest()
    return int.from_bytes(digest[:8]) % _SEEDS
