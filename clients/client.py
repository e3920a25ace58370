"""The clients, blocking and asyncio; they differ only in how they wait."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Self

import grpc

from clients import access, channel, messages, ray_proxy
from clients.access import Tls
from clients.administration import Administration, AsyncAdministration
from clients.errors import rpc_errors
from clients.methods import (
    CLASSIFY,
    DEFAULT_ADDRESS,
    DEFAULT_TIMEOUT_S,
    GET_MODEL,
    LIST_MODELS,
    named,
)
from clients.types import ImageFailure, ImageSource, ModelInfo, Prediction
from protos import classifier_pb2 as pb


class ClassifierClient(Administration):
    """Connections to a server; use it as a context manager, from any number of threads.

    Args:
        address: of the server; calls go to all that its name stands for, in turn.
        token: for a server that asks who calls.
        tls: speak TLS; None: do not, which a token allows only on the same machine.
        ray: the address is that of a proxy of Ray Serve: `classify` also tells the deadline in
            metadata, and tries again what gRPC does not; see `clients/ray_proxy.py`.
        connections: over which `classify` sends its requests in turn. More than one is for a
            server with several front ends (`--frontends`), each of which answers the connections
            that the kernel gives it: a few per front end keep all of them busy.

    Raises:
        ValueError: the token may not be sent so, or is none; or there is no connection.
        OSError: a file of TLS cannot be read.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        token: str | None = None,
        tls: Tls | None = None,
        ray: bool = False,
        connections: int = 1,
    ) -> None:
        self.address = address
        self._metadata = access.metadata(address, token, tls)
        options = channel.options(address, connections)
        self._channels = [
            grpc.secure_channel(address, access.credentials(tls), options)
            if tls
            else grpc.insecure_channel(address, options)
            for _ in range(connections)
        ]
        self._channel = self._channels[0]
        classify = channel.in_turn([self._method(CLASSIFY, one) for one in self._channels])
        self._classify = partial(ray_proxy.call, classify) if ray else classify
        self._get_model = self._method(GET_MODEL)
        self._list_models = self._method(LIST_MODELS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; calls in flight end with CANCELLED."""
        for each in self._channels:
            each.close()

    def classify(
        self,
        images: Sequence[ImageSource],
        *,
        top_k: int = 5,
        model: str = "",
        version: str = "",
        full_probabilities: bool = False,
        request_id: str = "",
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> list[Prediction | ImageFailure]:
        """Classify the images in one request; return one result per image, in order.

        `top_k` 0 gives all classes. A bad image among several fails alone, as `ImageFailure`;
        a request of one image raises. `request_id` names the request in the server's log and
        traces; empty: the server makes one, which an error carries.

        Raises:
            ClassifierError: the request failed as a whole.
            TypeError, ValueError, OSError: the images or the id cannot be sent, as the message
                says.
        """
        metadata = [*self._metadata, *named(request_id)]
        request = messages.classify_request(
            images,
            top_k=top_k,
            model=model,
            version=version,
            full_probabilities=full_probabilities,
        )
        with rpc_errors(self.address):
            response = self._classify(request, timeout=timeout_s, metadata=metadata)
        return messages.results(response, len(images))

    def get_model(
        self, model: str = "", version: str = "", *, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> ModelInfo:
        """Describe one loaded model; raise `ClassifierError`."""
        request = pb.GetModelRequest(model=model, version=version)
        with rpc_errors(self.address):
            return messages.model_info(self._get_model(request, timeout=timeout_s))

    def list_models(self, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> list[ModelInfo]:
        """Describe all loaded models, sorted by name, then version; raise `ClassifierError`."""
        with rpc_errors(self.address):
            response = self._list_models(pb.ListModelsRequest(), timeout=timeout_s)
        return [messages.model_info(model) for model in response.models]


class AsyncClassifierClient(AsyncAdministration):
    """The same for asyncio; use it as an async context manager within one event loop."""

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        token: str | None = None,
        tls: Tls | None = None,
        ray: bool = False,
        connections: int = 1,
    ) -> None:
        self.address = address
        self._metadata = access.metadata(address, token, tls)
        options = channel.options(address, connections)
        self._channels = [
            grpc.aio.secure_channel(address, access.credentials(tls), options)
            if tls
            else grpc.aio.insecure_channel(address, options)
            for _ in range(connections)
        ]
        self._channel = self._channels[0]
        classify = channel.in_turn([self._method(CLASSIFY, one) for one in self._channels])
        self._classify = partial(ray_proxy.call_async, classify) if ray else classify
        self._get_model = self._method(GET_MODEL)
        self._list_models = self._method(LIST_MODELS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; calls in flight are cancelled."""
        for each in self._channels:
            await each.close()

    async def classify(
        self,
        images: Sequence[ImageSource],
        *,
        top_k: int = 5,
        model: str = "",
        version: str = "",
        full_probabilities: bool = False,
        request_id: str = "",
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> list[Prediction | ImageFailure]:
        """As `ClassifierClient.classify`; files are read outside the event loop."""
        metadata = [*self._metadata, *named(request_id)]
        request = await asyncio.to_thread(
            messages.classify_request,
            images,
            top_k=top_k,
            model=model,
            version=version,
            full_probabilities=full_probabilities,
        )
        with rpc_errors(self.address):
            response = await self._classify(request, timeout=timeout_s, metadata=metadata)
        return messages.results(response, len(images))

    async def get_model(
        self, model: str = "", version: str = "", *, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> ModelInfo:
        """As `ClassifierClient.get_model`."""
        request = pb.GetModelRequest(model=model, version=version)
        with rpc_errors(self.address):
            return messages.model_info(await self._get_model(request, timeout=timeout_s))

    async def list_models(self, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> list[ModelInfo]:
        """As `ClassifierClient.list_models`."""
        with rpc_errors(self.address):
            response = await self._list_models(pb.ListModelsRequest(), timeout=timeout_s)
        return [messages.model_info(model) for model in response.models]
