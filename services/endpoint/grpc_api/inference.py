"""``calyx.v1.InferenceService``: translates, and leaves the rest to the generation core."""

import asyncio
from contextlib import aclosing
from typing import Literal

import grpc

from calyx.v1 import inference_pb2 as messages
from calyx.v1 import inference_pb2_grpc
from services.endpoint.conversation import Conversation, Request
from services.endpoint.errors import OutOfTime
from services.endpoint.generation import Chunk
from services.endpoint.models import Models, Served
from services.endpoint.sampling import SamplingParameters
from services.endpoint.scheduler import Scheduler

_REASONS: dict[Literal["stop_sequence", "end_of_text", "length"], messages.FinishReason] = {
    "length": messages.FINISH_REASON_LENGTH,
    "end_of_text": messages.FINISH_REASON_END_OF_TEXT,
    "stop_sequence": messages.FINISH_REASON_STOP_SEQUENCE,
}


class InferenceServicer(inference_pb2_grpc.InferenceServiceServicer):
    """Answers the calls.

    Args:
        models: the models to answer with.
        scheduler: runs the answers.
        write_timeout: seconds that a caller may leave a piece of its answer unread.
    """

    def __init__(self, models: Models, scheduler: Scheduler, write_timeout: float) -> None:
        self._models = models
        self._scheduler = scheduler
        self._write_timeout = write_timeout

    async def ListModels(
        self, _: messages.ListModelsRequest, __: grpc.aio.ServicerContext
    ) -> messages.ListModelsResponse:
        """Return every model that is served."""
        return messages.ListModelsResponse(models=[_described(one) for one in self._models.served])

    async def Generate(self, request: messages.GenerateRequest, context: grpc.aio.ServicerContext) -> None:
        """Write an answer's pieces as they are generated."""
        conversation = Conversation(self._models.get(request.model or None))
        try:
            async with aclosing(self._scheduler.run(conversation, _request(request))) as chunks:
                async for chunk in chunks:
                    await self._write(context, _piece(chunk))
        finally:
            self._scheduler.end(conversation)

    async def _write(self, context: grpc.aio.ServicerContext, message: messages.GenerateResponse) -> None:
        try:
            async with asyncio.timeout(self._write_timeout):
                await context.write(message)
        except TimeoutError:
            raise OutOfTime("the answer was not read in time", "read the pieces as they come") from None


def _described(served: Served) -> messages.Model:
    described = messages.Model(name=served.name, aliases=served.aliases, loaded=served.model is not None)
    if served.model is None:
        described.problem = served.problem
    else:
        described.block_count = served.model.num_blocks
        described.max_length = served.model.max_length
        described.memory_bytes = served.memory_bytes
    return described


def _request(request: messages.GenerateRequest) -> Request:
    """Translate it; raises ``InvalidInput`` if a value is out of its range."""
    sampling, stopping = request.parameters, request.stopping_parameters
    return Request(
        prompt=request.inputs,
        sampling=SamplingParameters(
            do_sample=sampling.do_sample,
            temperature=sampling.temperature if sampling.HasField("temperature") else None,
            top_k=sampling.top_k if sampling.HasField("top_k") else None,
            top_p=sampling.top_p if sampling.HasField("top_p") else None,
            repetition_penalty=(
                sampling.repetition_penalty if sampling.HasField("repetition_penalty") else None
            ),
            seed=sampling.seed if sampling.HasField("seed") else None,
        ),
        max_new_tokens=stopping.max_new_tokens if stopping.HasField("max_new_tokens") else None,
        stop_sequences=tuple(stopping.stop_sequences),
        tokens_per_chunk=1,
    )


def _piece(chunk: Chunk) -> messages.GenerateResponse:
    piece = messages.GenerateResponse(text=chunk.text, token_count=chunk.tokens)
    if chunk.finish is not None:
        piece.finish_reason = _REASONS[chunk.finish.reason]
        piece.stop_sequence = chunk.finish.sequence or ""
    return piece
