"""A real gRPC server around fake models, and real clients of it, all on the loopback and in the test's loop."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from calyx.v1 import inference_pb2_grpc
from calyx.v1.inference_pb2 import ChatRequest, GenerateRequest
from services.common.settings.endpoint import EndpointSettings
from services.endpoint.access.admission import Access
from services.endpoint.access.keys import KeyFile
from services.endpoint.grpc_api.server import grpc_served
from services.endpoint.models import Models
from services.endpoint.readiness import Readiness
from services.endpoint.scheduler import Scheduler


@dataclass
class Served:
    """What a test talks to."""

    address: str
    channel: grpc.aio.Channel
    scheduler: Scheduler

    @property
    def stub(self) -> Any:
        return inference_pb2_grpc.InferenceServiceStub(self.channel)

    def generate(self, timeout: float = 20, key: str | None = None, **fields: Any) -> Any:
        """Begin an answer of at most four tokens unless ``fields`` say otherwise."""
        fields = {"inputs": "Hi", "stopping_parameters": {"max_new_tokens": 4}, **fields}
        metadata = [("authorization", f"Bearer {key}")] if key else None
        return self.stub.Generate(GenerateRequest(**fields), timeout=timeout, metadata=metadata)

    def chat(self, **fields: Any) -> Any:
        return self.stub.Chat(ChatRequest(**fields), timeout=20)

    async def text(self, **fields: Any) -> str:
        return "".join([piece.text async for piece in self.generate(**fields)])


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    """Read the rest of an answer, and return the status and details that it ends with."""

    async def read_all() -> None:
        while await call.read() is not grpc.aio.EOF:
            pass

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await read_all()
    return caught.value.code(), caught.value.details() or ""


@asynccontextmanager
async def serving(models: Models, **settings: Any) -> AsyncIterator[Served]:
    """Serve until the context ends; keyword arguments are settings."""
    limits = EndpointSettings(**settings)
    scheduler = Scheduler(limits.max_running, limits.max_waiting, limits.request_timeout)
    access = Access(KeyFile(limits.keys_file))
    served = grpc_served(models, scheduler, Readiness(models), access, limits, "127.0.0.1:0")
    async with served as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Served(f"127.0.0.1:{port}", channel, scheduler)
        await scheduler.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds, and let the loop run meanwhile."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)
