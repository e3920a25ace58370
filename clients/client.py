"""The clients, blocking and asyncio; they differ only in how they wait."""

import asyncio
from collections.abc import Sequence
from typing import Self

import grpc

from clients import messages
from clients.channel import CLASSIFY, GET_MODEL, LIST_MODELS, OPTIONS
from clients.errors import rpc_errors
from clients.types import ImageFailure, ImageSource, ModelInfo, Prediction
from protos import classifier_pb2 as pb

DEFAULT_ADDRESS = "localhost:50051"
DEFAULT_TIMEOUT_S = 10.0


class ClassifierClient:
    """A connection to one server; use it as a context manager, from any number of threads."""

    def __init__(self, address: str = DEFAULT_ADDRESS) -> None:
        self.address = address
        self._channel = grpc.insecure_channel(address, options=OPTIONS)
        self._classify = self._channel.unary_unary(*CLASSIFY)
        self._get_model = self._channel.unary_unary(*GET_MODEL)
        self._list_models = self._channel.unary_unary(*LIST_MODELS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; calls in flight end with CANCELLED."""
        self._channel.close()

    def classify(
        self,
        images: Sequence[ImageSource],
        *,
        top_k: int = 5,
        model: str = "",
        version: str = "",
        full_probabilities: bool = False,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> list[Prediction | ImageFailure]:
        """Classify the images in one request; return one result per image, in order.

        `top_k` 0 gives all classes. A bad image among several fails alone, as `ImageFailure`;
        a request of one image raises.

        Raises:
            ClassifierError: the request failed as a whole.
            TypeError, ValueError, OSError: the images cannot be sent, as the message says.
        """
        request = messages.classify_request(
            images,
            top_k=top_k,
            model=model,
            version=version,
            full_probabilities=full_probabilities,
        )
        with rpc_errors(self.address):
            response = self._classify(request, timeout=timeout_s)
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


class AsyncClassifierClient:
    """The same for asyncio; use it as an async context manager within one event loop."""

    def __init__(self, address: str = DEFAULT_ADDRESS) -> None:
        self.address = address
        self._channel = grpc.aio.insecure_channel(address, options=OPTIONS)
        self._classify = self._channel.unary_unary(*CLASSIFY)
        self._get_model = self._channel.unary_unary(*GET_MODEL)
        self._list_models = self._channel.unary_unary(*LIST_MODELS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls in flight are cancelled."""
        await self._channel.close()

    async def classify(
        self,
        images: Sequence[ImageSource],
        *,
        top_k: int = 5,
        model: str = "",
        version: str = "",
        full_probabilities: bool = False,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> list[Prediction | ImageFailure]:
        """As `ClassifierClient.classify`; files are read outside the event loop."""
        request = await asyncio.to_thread(
            messages.classify_request,
            images,
            top_k=top_k,
            model=model,
            version=version,
            full_probabilities=full_probabilities,
        )
        with rpc_errors(self.address):
            response = await self._classify(request, timeout=timeout_s)
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
