"""``calyx.v1.InferenceService``: translates, and leaves the rest to the generation core."""

import asyncio
from contextlib import aclosing
from typing import Literal, TypeVar

import grpc

from calyx.v1 import inference_pb2 as messages
from calyx.v1 import inference_pb2_grpc
from services.endpoint.chat_template import ChatTemplate
from services.endpoint.choices import run_choices
from services.endpoint.conversation import Conversation, Request
from services.endpoint.engine import Model
from services.endpoint.generation import Chunk
from services.endpoint.models import Models, Served
from services.endpoint.sampling import SamplingParameters
from services.endpoint.scheduler import Scheduler

_REASONS: dict[Literal["stop_sequence", "end_of_text", "length"], messages.FinishReason] = {
    "length": messages.FINISH_REASON_LENGTH,
    "end_of_text": messages.FINISH_REASON_END_OF_TEXT,
    "stop_sequence": messages.FINISH_REASON_STOP_SEQUENCE,
}

_Piece = TypeVar("_Piece", messages.GenerateResponse, messages.ChatResponse)


class InferenceServicer(inference_pb2_grpc.InferenceServiceServicer):
    """Answers the calls.

    Args:
        models: the models to answer with.
        scheduler: runs the answers.
        answer_tokens: the most tokens of an answer whose request does not say it.
    """

    def __init__(self, models: Models, scheduler: Scheduler, answer_tokens: int) -> None:
        self._models = models
        self._scheduler = scheduler
        self._answer_tokens = answer_tokens

    async def ListModels(
        self, _: messages.ListModelsRequest, __: grpc.aio.ServicerContext
    ) -> messages.ListModelsResponse:
        """Return every model that is served."""
        return messages.ListModelsResponse(models=[_described(one) for one in self._models.served])

    async def Generate(self, request: messages.GenerateRequest, context: grpc.aio.ServicerContext) -> None:
        """Write an answer's pieces as they are generated."""
        model = self._models.get(request.model or None)
        prompt = await asyncio.to_thread(Conversation(model).prompt_ids, request.inputs)
        asked = self._request(model, prompt, request, keep_stop=True)
        await self._answer(context, model, asked, messages.GenerateResponse)

    async def Chat(self, request: messages.ChatRequest, context: grpc.aio.ServicerContext) -> None:
        """Write an answer's pieces as they are generated."""
        model = self._models.get(request.model or None)
        template = ChatTemplate(model.tokenizer, model.name)
        said = [{"role": message.role, "content": message.content} for message in request.messages]
        prompt = await asyncio.to_thread(template.encode, said)
        asked = self._request(model, prompt, request, keep_stop=False)
        await self._answer(context, model, asked, messages.ChatResponse)

    async def _answer(
        self, context: grpc.aio.ServicerContext, model: Model, request: Request, kind: type[_Piece]
    ) -> None:
        async with aclosing(run_choices(self._scheduler, model, [request])) as pieces:
            async for _, chunk in pieces:
                await context.write(_piece(chunk, request, kind))

    def _request(
        self,
        model: Model,
        prompt: list[int],
        message: messages.GenerateRequest | messages.ChatRequest,
        keep_stop: bool,
    ) -> Request:
        """Translate it; raises ``InvalidInput`` if a value is out of its range."""
        stopping = message.stopping_parameters
        most = max(1, min(self._answer_tokens, model.max_length - len(prompt)))
        return Request(
            prompt=tuple(prompt),
            sampling=_sampling(message.parameters),
            max_new_tokens=stopping.max_new_tokens if stopping.HasField("max_new_tokens") else most,
            stop_sequences=tuple(stopping.stop_sequences),
            keep_stop=keep_stop,
            tokens_per_chunk=1,
        )


def _described(served: Served) -> messages.Model:
    described = messages.Model(name=served.name, aliases=served.aliases, loaded=served.model is not None)
    if served.model is None:
        described.problem = served.problem
    else:
        described.block_count = served.model.num_blocks
        described.max_length = served.model.max_length
        described.memory_bytes = served.memory_bytes
    return described


def _sampling(asked: messages.NextTokenChooserParameters) -> SamplingParameters:
    return SamplingParameters(
        do_sample=asked.do_sample,
        temperature=asked.temperature if asked.HasField("temperature") else None,
        top_k=asked.top_k if asked.HasField("top_k") else None,
        top_p=asked.top_p if asked.HasField("top_p") else None,
        repetition_penalty=asked.repetition_penalty if asked.HasField("repetition_penalty") else None,
        seed=asked.seed if asked.HasField("seed") else None,
        presence_penalty=asked.presence_penalty,
        frequency_penalty=asked.frequency_penalty,
    )


def _piece(chunk: Chunk, request: Request, kind: type[_Piece]) -> _Piece:
    piece = kind(text=chunk.text, token_count=chunk.tokens)
    if chunk.finish is not None:
        piece.finish_reason = _REASONS[chunk.finish.reason]
        piece.stop_sequence = chunk.finish.sequence or ""
        piece.prompt_token_count = len(request.prompt or ())
    return piece
