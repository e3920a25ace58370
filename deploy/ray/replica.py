"""The deployment: each replica holds one engine, and answers what Ray's proxies bring."""

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import ray
from google.protobuf.descriptor import MethodDescriptor
from ray import serve

from deploy.ray.call import RayCall
from deploy.ray.engine import Engine
from deploy.ray.http import HttpDoor
from deploy.ray.settings import read, within_share
from protos import classifier_pb2, open_inference_pb2

CLASSIFIER = classifier_pb2.DESCRIPTOR.services_by_name["Classifier"]
OPEN_INFERENCE = open_inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
# They take bytes, and end their calls themselves; see `serving.rpc.methods.DirectMethod`.
DIRECT = {"Classify", "ModelInfer"}


class Bytes:
    """A response that is serialized already."""

    def __init__(self, message: bytes) -> None:
        self._message = message

    def SerializeToString(self) -> bytes:  # noqa: N802 - as a message; Ray calls it
        """Return it."""
        return self._message


NOTHING = Bytes(b"")


class Replica:
    """One engine, for Ray's proxies: it batches, admits and keeps deadlines as the server does.

    Args:
        settings: of the engine; see `deploy.ray.settings`.
    """

    async def __init__(self, settings: Mapping[str, Any]) -> None:  # type: ignore[misc]
        """Load, prove and warm every model; Ray tells the callers nothing of a replica before."""
        cpus = ray.get_runtime_context().get_assigned_resources().get("CPU", 0.0)
        config = read(within_share(settings, cpus))
        logging.basicConfig(level=config.log_level)
        self._engine = Engine(config)
        await self._engine.start()

    def __serve_build_asgi_app__(self) -> HttpDoor:
        """Return what answers over HTTP."""
        return self._engine.http

    async def check_health(self) -> None:
        """Raise if no model answers; Ray then replaces the replica."""
        self._engine.check()

    async def __del__(self) -> None:
        """End all models; Ray calls this when the replica has answered what it had."""
        await self._engine.close()


def _unary(service: str, name: str) -> Callable[..., Any]:
    async def answer(self: Replica, request: Any, grpc_context: Any) -> Any:
        method = getattr(getattr(self._engine, service), name)

        async def work(call: RayCall) -> None:
            if name in DIRECT:
                method(request.SerializeToString(), call)
            else:
                call.finish(await method(request, call))

        # Of a call that fails the proxy sends no message.
        return await RayCall(grpc_context).answer(work) or NOTHING

    return answer


def _stream(service: str, name: str) -> Callable[..., Any]:
    async def answer(self: Replica, requests: Any, grpc_context: Any) -> AsyncIterator[Bytes]:
        method = getattr(getattr(self._engine, service), name)

        async def messages() -> AsyncIterator[bytes]:
            async for request in requests:
                yield request.SerializeToString()

        async def work(call: RayCall) -> None:
            await method(messages(), call)

        async for response in RayCall(grpc_context).answers(work):
            yield Bytes(response)

    return answer


def _add(method: MethodDescriptor, service: str) -> None:
    """Give the replica a method of a service: Ray finds it by its name."""
    make = _stream if method.client_streaming else _unary
    answer = make(service, method.name)
    answer.__name__ = method.name
    setattr(Replica, method.name, answer)


for _method in CLASSIFIER.methods:
    _add(_method, "classifier")
for _method in OPEN_INFERENCE.methods:
    _add(_method, "open_inference")

# Ray's own queue would hide requests from the admission of the engine, which knows their deadlines.
Classifier = serve.deployment(
    name="Classifier",
    max_ongoing_requests=1024,
    health_check_period_s=2.0,
    health_check_timeout_s=10.0,
    graceful_shutdown_timeout_s=30.0,
    graceful_shutdown_wait_loop_s=0.5,
    logging_config={"enable_access_log": False},
)(serve.ingress()(Replica))
