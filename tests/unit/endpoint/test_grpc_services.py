"""What every gRPC server has, as this one has it: the health service, reflection, and a port of its own."""

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from services.common.errors import Unavailable
from services.common.settings.endpoint import EndpointSettings
from services.endpoint.access.admission import Access
from services.endpoint.access.keys import KeyFile
from services.endpoint.grpc_api.health import HealthServicer
from services.endpoint.grpc_api.server import grpc_served
from services.endpoint.models import Models
from services.endpoint.readiness import Readiness
from tests.unit.endpoint.fake_model import FakeModel
from tests.unit.endpoint.grpc_pieces import Served, serving, until

Code = grpc.StatusCode
SERVICE = "calyx.v1.InferenceService"


async def test_health_is_what_readyz_says(served: Served, model: FakeModel) -> None:
    health = health_pb2_grpc.HealthStub(served.channel)
    for name in ("", SERVICE):
        found = await health.Check(health_pb2.HealthCheckRequest(service=name))
        assert found.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await health.Check(health_pb2.HealthCheckRequest(service="other"))
    assert caught.value.code() is Code.NOT_FOUND
    assert set((await health.List(health_pb2.HealthListRequest())).statuses) == {"", SERVICE}


async def test_who_watches_health_is_told_of_changes_alone(models: Models, model: FakeModel) -> None:
    told: list[int] = []

    class Context:
        async def write(self, message: health_pb2.HealthCheckResponse) -> None:
            told.append(message.status)

    model.missing = [3]
    health = HealthServicer(Readiness(models, lifetime=0), [], period=0.001)
    watching = asyncio.ensure_future(health.Watch(health_pb2.HealthCheckRequest(), Context()))
    await until(lambda: model.looks > 2)
    model.missing = []
    await until(lambda: len(told) > 1)
    watching.cancel()
    assert told == [health_pb2.HealthCheckResponse.NOT_SERVING, health_pb2.HealthCheckResponse.SERVING]


async def test_a_port_that_is_taken_is_told(models: Models) -> None:
    async with serving(models) as served:
        limits = EndpointSettings()
        access = Access(KeyFile(limits.keys_file))
        again = grpc_served(models, served.scheduler, Readiness(models), access, limits, served.address)
        with pytest.raises(Unavailable, match=f"gRPC on {served.address}: the port is taken"):
            await again.__aenter__()


async def test_reflection_lists_the_services_and_knows_the_messages(served: Served) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(served.channel)
    asked = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
    ]
    listed, described = [answer async for answer in stub.ServerReflectionInfo(iter(asked))]
    names = {service.name for service in listed.list_services_response.service}
    assert names >= {SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    assert b"GenerateRequest" in described.file_descriptor_response.file_descriptor_proto[0]
