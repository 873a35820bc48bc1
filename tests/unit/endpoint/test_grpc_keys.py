"""API keys over gRPC: the same as over HTTP, in the metadata ``authorization``."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from calyx.v1.inference_pb2 import ListModelsRequest
from services.endpoint.access.__main__ import run
from services.endpoint.access.keys import KeyFile
from services.endpoint.models import Models
from tests.unit.endpoint.grpc_pieces import Served, refusal, serving

Code = grpc.StatusCode


@pytest.fixture
def create(tmp_path: Path) -> Callable[..., str]:
    return lambda *options: str(run(["create", "phone", *options], KeyFile(tmp_path / "keys.json"), 0)["key"])


@pytest.fixture
async def served(models: Models, tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(models, keys_file=tmp_path / "keys.json") as served:
        yield served


async def test_a_key_is_asked_for_once_there_is_one(served: Served, create: Callable[..., str]) -> None:
    assert await served.text() == "Once"
    key = create()

    assert await served.text(key=key) == "Once"
    code, problem = await refusal(served.generate())
    assert (code, problem.partition(" \u2014")[0]) == (
        Code.UNAUTHENTICATED,
        "the endpoint asks for an API key",
    )
    assert (await refusal(served.generate(key="calyx-no")))[0] == Code.UNAUTHENTICATED
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.stub.ListModels(ListModelsRequest())
    assert caught.value.code() == Code.UNAUTHENTICATED


async def test_over_its_limit_a_key_is_exhausted_and_its_place_is_given_back(
    served: Served, create: Callable[..., str]
) -> None:
    key = create("--requests-per-minute", "2", "--concurrency", "1")

    assert [await served.text(key=key) for _ in range(2)] == ["Once", "Once"]

    code, problem = await refusal(served.generate(key=key))
    assert code == Code.RESOURCE_EXHAUSTED
    assert "2 requests per minute" in problem


async def test_whether_it_works_is_told_to_everybody(served: Served, create: Callable[..., str]) -> None:
    create()

    health = health_pb2_grpc.HealthStub(served.channel)
    answer = await health.Check(health_pb2.HealthCheckRequest())

    assert answer.status == health_pb2.HealthCheckResponse.SERVING
