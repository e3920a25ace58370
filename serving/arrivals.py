"""Calls on their way from gRPC's queue to their handlers; gRPC does not tell how many wait."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"
# The queue is not quite in order: one call of our own may overtake others, five hardly do.
CALLS_ALONE = 5

logger = logging.getLogger(__name__)


class Arrivals(grpc.aio.ServerInterceptor):
    """Counts the calls that reach a handler, and knows when no more are about to."""

    def __init__(self) -> None:
        self._count = 0

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Count a call."""
        self._count += 1
        return await continuation(handler_call_details)

    async def settled(self, address: str, timeout_s: float) -> None:
        """Return when the calls to the server at `address` have reached their handlers.

        None is left when calls of our own come through one after the other, and no one else's
        between them. Where others never cease to come, say so in the log after `timeout_s`.
        """
        options = [("grpc.enable_http_proxy", 0)]
        try:
            async with (
                asyncio.timeout(timeout_s),
                grpc.aio.insecure_channel(address, options=options) as channel,
            ):
                await self._until_alone(health_pb2_grpc.HealthStub(channel))
        except (TimeoutError, grpc.aio.AioRpcError) as error:
            logger.warning("calls that wait may be cut off: %r", error)

    async def _until_alone(self, stub: health_pb2_grpc.HealthStub) -> None:
        alone = 0
        while alone < CALLS_ALONE:
            before = self._count
            await stub.Check(health_pb2.HealthCheckRequest())
            alone = alone + 1 if self._count == before + 1 else 0
