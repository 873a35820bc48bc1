"""gRPC as an application on this machine finds it: the contract and its port, and nothing of this repository."""

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from calyx.v1 import inference_pb2 as messages
from calyx.v1.inference_pb2_grpc import InferenceServiceStub
from tests.integration.stack.pool import MODEL, Pool

SECONDS = 120


def test_a_program_finds_the_models_and_gets_answers(pool: Pool) -> None:
    with grpc.insecure_channel(pool.grpc) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        status = health.Check(health_pb2.HealthCheckRequest(), timeout=SECONDS, wait_for_ready=True).status
        assert status == health_pb2.HealthCheckResponse.SERVING

        stub = InferenceServiceStub(channel)
        (model,) = stub.ListModels(messages.ListModelsRequest(), timeout=SECONDS).models
        assert (model.name, model.loaded, model.block_count) == (MODEL, True, 30)
        # Its embeddings are its head too: 49152 tokens of 576 numbers, in bfloat16 or float32
        assert 49152 * 576 * 2 <= model.memory_bytes < 49152 * 576 * 4 * 1.1

        ask = messages.GenerateRequest(
            inputs="The capital of France is", stopping_parameters={"max_new_tokens": 8}
        )
        pieces = list(stub.Generate(ask, timeout=SECONDS))
        assert "Paris" in "".join(piece.text for piece in pieces)
        assert sum(piece.token_count for piece in pieces) == 8
        assert pieces[-1].finish_reason == messages.FINISH_REASON_LENGTH

        question = {"role": "user", "content": "Name the capital of France."}
        chat = list(stub.Chat(messages.ChatRequest(messages=[question]), timeout=SECONDS))
        assert "".join(piece.text for piece in chat) == "The capital of France is Paris."
        assert chat[-1].finish_reason == messages.FINISH_REASON_END_OF_TEXT

        listing = reflection_pb2.ServerReflectionRequest(list_services="")
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        (answer,) = reflection.ServerReflectionInfo(iter([listing]), timeout=SECONDS)
        assert "calyx.v1.InferenceService" in {one.name for one in answer.list_services_response.service}
