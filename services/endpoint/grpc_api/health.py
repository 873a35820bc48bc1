"""The standard health service: SERVING means what ``/readyz`` means. See
https://github.com/grpc/grpc/blob/master/doc/health-checking.md"""

import asyncio
from collections.abc import Collection

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.endpoint.readiness import Readiness

_Status = health_pb2.HealthCheckResponse


class HealthServicer(health_pb2_grpc.HealthServicer):
    """Answers when it is asked, so that the swarm is not asked for nobody.

    Args:
        readiness: knows whether a model can be used.
        services: names that may be asked for, besides the empty one, which is the whole endpoint.
        period: seconds between two looks for each that watches.
    """

    def __init__(self, readiness: Readiness, services: Collection[str], period: float = 5.0) -> None:
        self._readiness = readiness
        self._services = ("", *services)
        self._period = period

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        """Return the status now."""
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service")
        return _Status(status=await self._status())

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext) -> None:
        """Write the status now, and whenever it changes."""
        known = request.service in self._services
        told = None
        while True:
            status = await self._status() if known else _Status.SERVICE_UNKNOWN
            if status != told:
                await context.write(_Status(status=status))
            told = status
            await asyncio.sleep(self._period)

    async def List(
        self, _: health_pb2.HealthListRequest, __: grpc.aio.ServicerContext
    ) -> health_pb2.HealthListResponse:
        """Return the status of every name that may be asked for."""
        status = _Status(status=await self._status())
        return health_pb2.HealthListResponse(statuses=dict.fromkeys(self._services, status))

    async def _status(self) -> int:
        ready, _ = await self._readiness.check()
        return int(_Status.SERVING if ready else _Status.NOT_SERVING)
