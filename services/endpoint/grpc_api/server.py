"""The gRPC server: what it offers, and its limits. It shares the event loop with the HTTP server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from calyx.v1 import inference_pb2, inference_pb2_grpc
from services.common.errors import Unavailable
from services.common.settings.endpoint import EndpointSettings
from services.endpoint.access.admission import Access
from services.endpoint.grpc_api.boundary import Boundary
from services.endpoint.grpc_api.health import HealthServicer
from services.endpoint.grpc_api.inference import InferenceServicer
from services.endpoint.models import Models
from services.endpoint.readiness import Readiness
from services.endpoint.scheduler import Scheduler

_INFERENCE = inference_pb2.DESCRIPTOR.services_by_name["InferenceService"].full_name
_GRACE_SECONDS = 1.0


@asynccontextmanager
async def grpc_served(
    models: Models,
    scheduler: Scheduler,
    readiness: Readiness,
    access: Access,
    settings: EndpointSettings,
    address: str | None,
) -> AsyncIterator[int | None]:
    """Serve gRPC inside the context, whose value is the port.

    Args:
        models: the models to answer with.
        scheduler: runs the answers.
        readiness: knows whether a model can be used.
        access: knows who may call.
        settings: how large messages may be, and how long answers whose requests do not say it.
        address: ``host:port`` to listen on, where port 0 lets the system choose; None serves nothing.

    Raises:
        Unavailable: the port is taken.
    """
    if address is None:
        yield None
        return
    server = grpc.aio.server(interceptors=[Boundary(access)], options=_options(settings.max_message_bytes))
    inference_pb2_grpc.add_InferenceServiceServicer_to_server(
        InferenceServicer(models, scheduler, settings.answer_tokens), server
    )
    health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(readiness, [_INFERENCE]), server)
    reflection.enable_server_reflection((_INFERENCE, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise Unavailable(
            f"listening for gRPC on {address}: the port is taken", "stop what uses it, or choose another port"
        ) from error
    await server.start()
    try:
        yield port
    finally:
        await server.stop(_GRACE_SECONDS)


def _options(max_message_bytes: int) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_metadata_size", 16 * 1024),
        ("grpc.max_concurrent_streams", 256),
        # Two endpoints on one port would each get some of its calls
        ("grpc.so_reuseport", 0),
        # A machine that died without a word holds its answers no longer than over a WebSocket
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        # Nor does a connection that never says what it is for
        ("grpc.server_handshake_timeout_ms", 20_000),
    ]
