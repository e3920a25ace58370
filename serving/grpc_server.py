"""grpc.aio with the Classifier, health and reflection services."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from protos import classifier_pb2
from protos.classifier_pb2_grpc import ClassifierServicer, add_ClassifierServicer_to_server
from serving.api.health import Health
from serving.arrivals import Arrivals
from serving.errors import StartupError
from serving.readiness import Readiness

# How long answers may be held back; see `Readiness.may_answer`.
LONGEST_HOLD_S = 1.0

SERVICE = classifier_pb2.DESCRIPTOR.services_by_name["Classifier"].full_name


class GrpcServer:
    """Binds its port at once, listens while `listening` is open.

    Args:
        classifier: the service.
        readiness: the server's state.
        host: address to listen on.
        port: its port; 0 takes a free one, then in `port`.
        max_message_bytes: largest message in either direction.
    """

    def __init__(
        self,
        classifier: ClassifierServicer,
        readiness: Readiness,
        *,
        host: str,
        port: int,
        max_message_bytes: int,
    ) -> None:
        self._arrivals = Arrivals()
        self._server = grpc.aio.server(
            interceptors=[self._arrivals],
            options=[
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.max_send_message_length", max_message_bytes),
                ("grpc.so_reuseport", 0),  # else a second server would share the port unnoticed
            ],
        )
        self._readiness = readiness
        self.health = Health((SERVICE,), readiness.draining)
        add_ClassifierServicer_to_server(classifier, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        services = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(services, self._server)
        self.port = _bind(self._server, host, port)
        self._address = _address(host, self.port)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen, not yet serving, while the context is open; then cut off what is left."""
        await self.health.say(serving=False)
        await self._server.start()
        try:
            yield
        finally:
            await self._server.stop(None)

    async def stop(self, grace_period_s: float) -> None:
        """Accept no more calls; return when all are over, or cut off after the grace period."""
        await self._arrivals.settled(self._address, min(grace_period_s, LONGEST_HOLD_S))
        stopping = asyncio.create_task(self._server.stop(grace_period_s))
        # Runs after the first step of the task, which tells every client to go elsewhere.
        asyncio.get_running_loop().call_soon(self._readiness.farewell.set)
        await stopping


def _bind(server: grpc.aio.Server, host: str, port: int) -> int:
    address = _address(host, port)
    try:
        return server.add_insecure_port(address)
    except RuntimeError as error:
        raise StartupError(
            f"cannot listen on {address} for gRPC: the port is taken, or the address is none of "
            f"this machine; choose others with --grpc-port and --host"
        ) from error


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
