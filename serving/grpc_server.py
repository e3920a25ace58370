"""gRPC with the Classifier, health and reflection services."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from protos import classifier_pb2
from protos.classifier_pb2_grpc import add_ClassifierServicer_to_server
from serving.api.classify import Classifier
from serving.api.health import Health
from serving.arrivals import settled
from serving.errors import StartupError
from serving.readiness import Readiness
from serving.rpc.server import DirectServer

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
        may_rest: whether calls may wait for a moment before they are looked at.
    """

    def __init__(
        self,
        classifier: Classifier,
        readiness: Readiness,
        *,
        host: str,
        port: int,
        max_message_bytes: int,
        may_rest: Callable[[], bool],
    ) -> None:
        self._server = DirectServer(
            [
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.max_send_message_length", max_message_bytes),
                ("grpc.so_reuseport", 0),  # else a second server would share the port unnoticed
            ],
            may_rest,
        )
        self._readiness = readiness
        self.health = Health((SERVICE,), readiness.draining)
        self._register(classifier)
        self.port = _bind(self._server, host, port)
        self._address = _address(host, self.port)

    def _register(self, classifier: Classifier) -> None:
        # Generated code is typed for grpcio's own servers and servicers.
        server, servicer = cast("Any", self._server), cast("Any", classifier)
        services = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        add_ClassifierServicer_to_server(servicer, server)
        classify = f"/{SERVICE}/Classify"
        self._server.add_direct_method(classify, classifier.Classify, lambda _: True)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, server)
        reflected = reflection.aio.ReflectionServicer(services)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflected, server)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen, not yet serving, while the context is open; then cut off what is left."""
        await self.health.say(serving=False)
        self._server.start()
        try:
            yield
        finally:
            await self._server.stop(0)

    async def stop(self, grace_period_s: float) -> None:
        """Accept no more calls; return when all are over, or cut off after the grace period."""
        hold_s = min(grace_period_s, LONGEST_HOLD_S)
        await settled(lambda: self._server.arrived, self._address, hold_s)
        stopping = asyncio.create_task(self._server.stop(grace_period_s))
        # Runs after the first step of the task, which tells every client to go elsewhere.
        asyncio.get_running_loop().call_soon(self._readiness.farewell.set)
        await stopping


def _bind(server: DirectServer, host: str, port: int) -> int:
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
