"""Requests of the OpenAI API to answers: prompts become tokens, pieces of answers become responses."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import uuid4

from services.endpoint.chat_template import ChatTemplate
from services.endpoint.choices import run_choices
from services.endpoint.conversation import Conversation, Request
from services.endpoint.engine import Model, Server
from services.endpoint.errors import WrongField
from services.endpoint.generation import Chunk
from services.endpoint.grammar import Grammar
from services.endpoint.models import Models
from services.endpoint.openai.chat import ChatChoice
from services.endpoint.openai.completions import TextChoice
from services.endpoint.openai.logprobs import LogprobWriter
from services.endpoint.openai.schema import MAX_CHOICES, ChatRequest, CompletionRequest, Sampled
from services.endpoint.openai.servers import extension
from services.endpoint.scheduler import Scheduler
from services.endpoint.schemas import Schemas


class Choice(Protocol):
    """Writes one answer."""

    def stream(self, chunk: Chunk) -> list[dict[str, Any]]:
        """Return the choices of the stream's chunks that carry a piece of the answer."""

    def whole(self, chunk: Chunk) -> dict[str, Any]:
        """Return the choice of an answer that came as one piece."""


@dataclass(frozen=True)
class _Kind:
    """What a kind of answer is called: its id's first part, the whole response, a chunk of a stream."""

    prefix: str
    whole: str
    chunk: str


_CHAT = _Kind("chatcmpl", "chat.completion", "chat.completion.chunk")
_TEXT = _Kind("cmpl", "text_completion", "text_completion")


@dataclass
class Answering:
    """A request that is ready to be answered.

    Attributes:
        scheduler: runs the answers.
        model: the model that answers.
        requests: one for each choice.
        choices: what writes each of them.
        prompt_tokens: how many tokens all prompts have.
        with_usage: whether a stream ends with the numbers of tokens.
        kind: what responses are called.
        head: what each of them begins with.
        tokens: how many tokens the answers have so far.
    """

    scheduler: Scheduler
    model: Model
    requests: Sequence[Request]
    choices: Sequence[Choice]
    prompt_tokens: int
    with_usage: bool
    kind: _Kind
    head: dict[str, Any]
    tokens: int = field(default=0, init=False)

    async def whole(self) -> dict[str, Any]:
        """Return the response with all answers."""
        written: dict[int, dict[str, Any]] = {}
        servers: Sequence[Server] = ()
        async with aclosing(run_choices(self.scheduler, self.model, self.requests)) as pieces:
            async for index, chunk in pieces:
                self.tokens += chunk.tokens
                written[index] = self.choices[index].whole(chunk)
                servers = chunk.servers
        choices = [written[index] for index in sorted(written)]
        head = {**self.head, "object": self.kind.whole}
        return {**head, "choices": choices, "usage": self._usage(), **extension(servers)}

    async def stream(self) -> AsyncGenerator[dict[str, Any]]:
        """Yield the chunks of the answers as they grow."""
        head = {**self.head, "object": self.kind.chunk}
        unknown = {"usage": None} if self.with_usage else {}
        async with aclosing(run_choices(self.scheduler, self.model, self.requests)) as pieces:
            async for index, chunk in pieces:
                self.tokens += chunk.tokens
                for choice in self.choices[index].stream(chunk):
                    yield {**head, "choices": [choice], **unknown, **extension(chunk.servers)}
        if self.with_usage:
            yield {**head, "choices": [], "usage": self._usage()}

    def _usage(self) -> dict[str, int]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.tokens,
            "total_tokens": self.prompt_tokens + self.tokens,
        }


class Serving:
    """Makes requests ready.

    Args:
        models: the models to answer with.
        scheduler: runs the answers.
        answer_tokens: the most tokens of an answer whose request does not say it.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        models: Models,
        scheduler: Scheduler,
        answer_tokens: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._models, self._scheduler = models, scheduler
        self._answer_tokens, self._clock = answer_tokens, clock
        self._since = int(clock())
        self._schemas = Schemas()

    def models(self) -> list[dict[str, Any]]:
        """Return the models that requests may name."""
        return [
            {"id": name, "object": "model", "created": self._since, "owned_by": "calyx"}
            for name in self._models.names
        ]

    async def chat(self, request: ChatRequest) -> Answering:
        """Make a chat ready.

        Raises:
            CalyxError: it cannot be answered, for a reason that the error names.
        """
        model = self._models.get(request.model)
        if request.top_logprobs is not None and not request.logprobs:
            raise WrongField("top_logprobs: it needs logprobs", "send logprobs: true")
        if request.wanted_schema is not None and request.offered_tools:
            raise WrongField(
                "response_format: it leaves no room for calls of tools", "send tool_choice: none"
            )
        template = ChatTemplate(model.tokenizer, model.name)
        prompt = await asyncio.to_thread(
            template.encode,
            [message.to_template() for message in request.messages],
            [tool.to_template() for tool in request.offered_tools],
            bool(request.continue_final_message),
        )
        likeliest = (request.top_logprobs or 0) if request.logprobs else None
        writer = None if likeliest is None else LogprobWriter(model.tokenizer)
        choices = [ChatChoice(index, request, writer) for index in range(request.choices)]
        limit, schema = request.answer_tokens, request.wanted_schema
        grammar = None if schema is None else await self._schemas.grammar(model, schema)
        return await self._answering(_CHAT, model, request, [prompt], limit, likeliest, choices, grammar)

    async def completion(self, request: CompletionRequest) -> Answering:
        """Make the answers to plain texts ready.

        Raises:
            CalyxError: they cannot be answered, for a reason that the error names.
        """
        model = self._models.get(request.model)
        count = len(request.prompts) * request.choices
        if not 1 <= count <= MAX_CHOICES:
            raise WrongField(f"prompt: 1 to {MAX_CHOICES} answers can be asked for, not {count}")
        encode = Conversation(model).prompt_ids
        prompts = await asyncio.to_thread(lambda: [encode(prompt) for prompt in request.prompts])
        writer = None if request.logprobs is None else LogprobWriter(model.tokenizer)
        choices = [TextChoice(index, writer) for index in range(count)]
        limit = request.max_tokens
        return await self._answering(_TEXT, model, request, prompts, limit, request.logprobs, choices)

    async def _answering(
        self,
        kind: _Kind,
        model: Model,
        request: Sampled,
        prompts: Sequence[list[int]],
        limit: int | None,
        logprobs: int | None,
        choices: Sequence[Choice],
        grammar: Grammar | None = None,
    ) -> Answering:
        requests = [
            request.to_request(prompt, choice, limit or self._room(model, prompt), logprobs, grammar)
            for prompt in prompts
            for choice in range(request.choices)
        ]
        # Nothing begins if one of several prompts does not fit
        conversation = Conversation(model)
        await asyncio.to_thread(lambda: [conversation.plan(one) for one in requests[:: request.choices]])
        return Answering(
            scheduler=self._scheduler,
            model=model,
            requests=requests,
            choices=choices,
            prompt_tokens=sum(map(len, prompts)),
            with_usage=request.with_usage,
            kind=kind,
            head={
                "id": f"{kind.prefix}-{uuid4().hex}",
                "created": int(self._clock()),
                "model": model.name,
            },
        )

    def _room(self, model: Model, prompt: Sequence[int]) -> int:
        return max(1, min(self._answer_tokens, model.max_length - len(prompt)))
