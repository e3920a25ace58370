"""gRPC with the Classifier, the Open Inference Protocol, health and reflection."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from protos import classifier_pb2, open_inference_pb2
from protos.classifier_pb2_grpc import add_ClassifierServicer_to_server
from protos.open_inference_pb2_grpc import add_GRPCInferenceServiceServicer_to_server
from serving.access.guard import Guard
from serving.api.call import Call
from serving.api.classify import ImageClassifier
from serving.api.oip.infer import ImageInference
from serving.api.stream import messages_until
from serving.errors import StartupError
from serving.lifecycle import Readiness, unless
from serving.listener import listen
from serving.record.recorder import Recorder
from serving.rpc.bounds import Bounds
from serving.rpc.call import RpcCall
from serving.rpc.options import options
from serving.rpc.server import DirectServer

CLASSIFIER = classifier_pb2.DESCRIPTOR.services_by_name["Classifier"].full_name
OPEN_INFERENCE = open_inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
SERVICES = CLASSIFIER, OPEN_INFERENCE
IMAGE_METHODS = {
    f"/{CLASSIFIER}/Classify",
    f"/{CLASSIFIER}/ClassifyStream",
    f"/{OPEN_INFERENCE}/ModelInfer",
    f"/{OPEN_INFERENCE}/ModelStreamInfer",
}
Forward = Callable[[str, bytes, RpcCall], None]
STATES = health_pb2.HealthCheckResponse


class Health(health.aio.HealthServicer):  # type: ignore[misc]  # the package has no types
    """The gRPC health protocol, for the server as a whole, its services, and each model by name."""

    def __init__(self, closing: asyncio.Event) -> None:
        super().__init__()
        self._closing = closing
        self._names: set[str] = set()
        self._telling = asyncio.Lock()

    async def show(self, models: Mapping[str, bool]) -> None:
        """Report which models answer, and know no others; the server does while one of them does.

        Reports go out one after another, in the order of these calls. A watcher of one name may
        hold one up, and what an older one still says must not come after a newer one.
        """
        async with self._telling:
            for name in self._names - {"", *SERVICES, *models}:
                await self.set(name, STATES.SERVICE_UNKNOWN)  # for who watches it
                self._names.discard(name)
            whole = dict.fromkeys(("", *SERVICES), any(models.values()))
            for name, ready in {**models, **whole}.items():
                self._names.add(name)
                await self.set(name, STATES.SERVING if ready else STATES.NOT_SERVING)

    async def enter_graceful_shutdown(self) -> None:
        """Report that nothing answers, from now on."""
        async with self._telling:
            await super().enter_graceful_shutdown()

    async def Check(  # noqa: N802
        self, request: Any, context: Call
    ) -> Any:
        """Return the state of one."""
        if request.service not in self._names:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"nothing here is {request.service!r}")
        return await super().Check(request, context)

    async def List(  # noqa: N802
        self,
        request: Any,  # noqa: ARG002
        context: Call,
    ) -> Any:
        """Return the states of all."""
        return health_pb2.HealthListResponse(
            statuses={
                name: await self.Check(health_pb2.HealthCheckRequest(service=name), context)
                for name in sorted(self._names)
            }
        )

    async def Watch(  # noqa: N802
        self, request: Any, context: Call
    ) -> None:
        """Send every change of a service's state until the server accepts no more calls."""
        await unless(self._closing, super().Watch(request, context))
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the server is draining")


class Reflection(reflection.aio.ReflectionServicer):  # type: ignore[misc]  # likewise
    """The gRPC reflection protocol, until the server accepts no more calls."""

    def __init__(self, services: tuple[str, ...], closing: asyncio.Event) -> None:
        super().__init__(services)
        self._closing = closing

    async def ServerReflectionInfo(  # noqa: N802
        self, request_iterator: AsyncIterator[Any], unused_context: Call
    ) -> AsyncIterator[Any]:
        """Answer each request."""
        requests = messages_until(self._closing, request_iterator)
        async for response in super().ServerReflectionInfo(requests, unused_context):
            yield response


class GrpcServer:
    """Binds its port at once, listens while `listening` is open.

    Args:
        classifier: a service.
        open_inference: another one.
        readiness: the server's state.
        host: address to listen on.
        port: its port; 0 takes a free one, then in `port`.
        bounds: what callers may take.
        guard: asks who calls; None: nobody does.
        credentials: those of TLS; None: without.
        recorder: begins the records of calls; None if nobody wants any.
        forward: is given the path, the request and the call of those methods of both services
            that take no images, which are answered elsewhere, and the port is shared with others;
            None: all are answered here, and the port is this server's.
    """

    def __init__(
        self,
        classifier: ImageClassifier,
        open_inference: ImageInference,
        readiness: Readiness,
        *,
        host: str,
        port: int,
        bounds: Bounds,
        guard: Guard | None = None,
        credentials: grpc.ServerCredentials | None = None,
        recorder: Recorder | None = None,
        forward: Forward | None = None,
    ) -> None:
        settings = options(bounds, shares_port=forward is not None)
        self._server = DirectServer(settings, bounds, guard, recorder)
        self._readiness = readiness
        self.health = Health(readiness.closing)
        self._register(classifier, open_inference)
        if forward:
            for path in self._server.methods - IMAGE_METHODS:
                if path.startswith(tuple(f"/{service}/" for service in SERVICES)):
                    self._server.forward(path, partial(forward, path))
        self.port = _bind(self._server, host, port, credentials)

    @property
    def methods(self) -> Collection[str]:
        """What is answered, each as `/service/method`."""
        return self._server.methods

    def _register(self, classifier: ImageClassifier, open_inference: ImageInference) -> None:
        # Generated code is typed for grpcio's own servers and servicers.
        server = cast("Any", self._server)
        services = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        add_ClassifierServicer_to_server(cast("Any", classifier), server)
        self._server.add_direct_method(f"/{CLASSIFIER}/Classify", classifier.Classify)
        self._server.give_bytes(f"/{CLASSIFIER}/ClassifyStream")
        add_GRPCInferenceServiceServicer_to_server(cast("Any", open_inference), server)
        self._server.add_direct_method(f"/{OPEN_INFERENCE}/ModelInfer", open_inference.ModelInfer)
        self._server.give_bytes(f"/{OPEN_INFERENCE}/ModelStreamInfer")
        health_pb2_grpc.add_HealthServicer_to_server(self.health, server)
        reflected = Reflection(services, self._readiness.closing)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflected, server)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen, not yet serving, while the context is open; then cut off what is left."""
        await self.health.show({})
        self._server.start()
        try:
            yield
        finally:
            await self._server.stop(0)

    async def drain(self, grace_period_s: float, others: Awaitable[None]) -> None:
        """Accept no more calls; return when all are over, or cut off after the grace period.

        Streams end only once `readiness.closing` is set. It does not return before `others` is
        done: what else of this process drains.
        """
        own = self._server.drain(grace_period_s, "the server is draining; try another")
        await asyncio.gather(own, others)


def _bind(
    server: DirectServer, host: str, port: int, credentials: grpc.ServerCredentials | None
) -> int:
    address = _address(host, port)
    try:
        if credentials:
            return server.add_secure_port(address, credentials)
        return server.add_insecure_port(address)
    except RuntimeError as error:
        # gRPC does not say why: try what it did.
        listen(host, port, "gRPC", "--grpc-port").close()
        raise StartupError(f"cannot listen on {address} for gRPC: {error}") from error


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
