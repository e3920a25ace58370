"""The gRPC health protocol, with watches that end when the server accepts no more calls."""

import asyncio
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2

from serving.api.call import Call
from serving.signals import unless

STATES = health_pb2.HealthCheckResponse


class Health(health.aio.HealthServicer):  # type: ignore[misc]  # the package has no types
    """Answers checks and watches of the server as a whole and of its services."""

    def __init__(self, services: tuple[str, ...], closing: asyncio.Event) -> None:
        super().__init__()
        self._services, self._closing = ("", *services), closing

    async def say(self, *, serving: bool) -> None:
        """Set the state of the server and of all its services."""
        for service in self._services:
            await self.say_of(service, serving=serving)

    async def say_of(self, service: str, *, serving: bool) -> None:
        """Set the state of one service; each model is one, by its name."""
        await self.set(service, STATES.SERVING if serving else STATES.NOT_SERVING)

    async def Watch(  # noqa: N802
        self, request: Any, context: Call
    ) -> None:
        """Send every change of a service's state until the server accepts no more calls."""
        await unless(self._closing, super().Watch(request, context))
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the server is draining")
