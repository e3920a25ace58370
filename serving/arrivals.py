"""Calls on their way from gRPC's queue to their handlers; gRPC does not tell how many wait."""

import asyncio
import logging
from collections.abc import Callable

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

# The queue is not quite in order: one call of our own may overtake others, five hardly do.
CALLS_ALONE = 5

logger = logging.getLogger(__name__)


async def settled(arrived: Callable[[], int], address: str, timeout_s: float) -> None:
    """Return when the calls to the server at `address` have reached their handlers.

    None is left when calls of our own come through one after the other, and no one else's between
    them. Where others never cease to come, say so in the log after `timeout_s`.

    Args:
        arrived: tells how many calls have reached a handler.
        address: of the server.
        timeout_s: when to give up, in seconds.
    """
    options = [("grpc.enable_http_proxy", 0)]
    try:
        async with (
            asyncio.timeout(timeout_s),
            grpc.aio.insecure_channel(address, options=options) as channel,
        ):
            await _until_alone(arrived, health_pb2_grpc.HealthStub(channel))
    except (TimeoutError, grpc.aio.AioRpcError) as error:
        logger.warning("calls that wait may be cut off: %r", error)


async def _until_alone(arrived: Callable[[], int], stub: health_pb2_grpc.HealthStub) -> None:
    alone = 0
    while alone < CALLS_ALONE:
        before = arrived()
        await stub.Check(health_pb2.HealthCheckRequest())
        alone = alone + 1 if arrived() == before + 1 else 0
