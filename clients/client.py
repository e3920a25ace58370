"""The clients, blocking and asyncio; they differ only in how they wait.

The methods are defined here, without the stub that protoc generates: it refuses every grpcio that
is older than its generator.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Generic, NamedTuple, Self, TypeVar

import grpc

from clients import access, messages, proxies
from clients.access import Tls
from clients.errors import REQUEST_ID, rpc_errors
from clients.messages import MAX_MESSAGE_BYTES
from clients.types import ImageFailure, ImageSource, ModelInfo, Prediction, VersionState
from protos import classifier_pb2 as pb
from protos import open_inference_pb2 as oip

DEFAULT_ADDRESS = "localhost:50051"
DEFAULT_TIMEOUT_S = 10.0
# Loading a large network, and proving it beside one that answers, takes minutes.
LOAD_TIMEOUT_S = 1800.0
SERVICE, OPEN_INFERENCE = "resnext.serving.v1.Classifier", "inference.GRPCInferenceService"

ACCEPTABLE = re.compile("[!-~]{1,128}")

Request = TypeVar("Request")
Response = TypeVar("Response")


class Method(NamedTuple, Generic[Request, Response]):
    """What a channel's `unary_unary` takes."""

    path: str
    serialize: Callable[[Request], bytes]
    parse: Callable[[bytes], Response]


CLASSIFY = Method(
    f"/{SERVICE}/Classify",
    pb.ClassifyRequest.SerializeToString,
    pb.ClassifyResponse.FromString,
)
GET_MODEL = Method(
    f"/{SERVICE}/GetModel", pb.GetModelRequest.SerializeToString, pb.Model.FromString
)
LIST_MODELS = Method(
    f"/{SERVICE}/ListModels",
    pb.ListModelsRequest.SerializeToString,
    pb.ListModelsResponse.FromString,
)

INDEX = Method(
    f"/{OPEN_INFERENCE}/RepositoryIndex",
    oip.RepositoryIndexRequest.SerializeToString,
    oip.RepositoryIndexResponse.FromString,
)
LOAD = Method(
    f"/{OPEN_INFERENCE}/RepositoryModelLoad",
    oip.RepositoryModelLoadRequest.SerializeToString,
    oip.RepositoryModelLoadResponse.FromString,
)
UNLOAD = Method(
    f"/{OPEN_INFERENCE}/RepositoryModelUnload",
    oip.RepositoryModelUnloadRequest.SerializeToString,
    oip.RepositoryModelUnloadResponse.FromString,
)

# Classifying changes nothing on the server, so it is safe to repeat a request that the server did
# not accept. The server says how long to wait (grpc-retry-pushback-ms).
_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": SERVICE}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
            },
        }
    ]
}

OPTIONS: list[tuple[str, int | str]] = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    # gRPC does not repeat a request that is larger than this buffer; its default is 256 KiB.
    ("grpc.per_rpc_retry_buffer_size", MAX_MESSAGE_BYTES),
]


def _named(request_id: str) -> tuple[tuple[str, str], ...]:
    if not request_id:
        return ()
    if not ACCEPTABLE.fullmatch(request_id):  # the server would go by one of its own
        raise ValueError(
            f"request_id must be at most 128 characters of visible ASCII, not {request_id[:64]!r}"
        )
    return ((REQUEST_ID, request_id),)


class ClassifierClient:
    """A connection to one server; use it as a context manager, from any number of threads.

    Args:
        address: of the server.
        token: for a server that asks who calls.
        tls: speak TLS; None: do not, which a token allows only on the same machine.

    Raises:
        ValueError: the token may not be sent so, or is none.
        OSError: a file of TLS cannot be read.
    """

    def __init__(
        self, address: str = DEFAULT_ADDRESS, *, token: str | None = None, tls: Tls | None = None
    ) -> None:
        self.address = address
        self._metadata = access.metadata(address, token, tls)
        options = [*OPTIONS, *proxies.options(address)]
        self._channel = (
            grpc.secure_channel(address, access.credentials(tls), options)
            if tls
            else grpc.insecure_channel(address, options)
        )
        self._classify = self._method(CLASSIFY)
        self._get_model = self._method(GET_MODEL)
        self._list_models = self._method(LIST_MODELS)
        self._index = self._method(INDEX)
        self._load = self._method(LOAD)
        self._unload = self._method(UNLOAD)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; calls in flight end with CANCELLED."""
        self._channel.close()

    def _method(self, method: Method[Request, Response]) -> Callable[..., Response]:
        """Return what calls a method, and shows the token each time."""
        return partial(self._channel.unary_unary(*method), metadata=self._metadata)

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
        metadata = [*self._metadata, *_named(request_id)]
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

    def list_versions(self, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> list[VersionState]:
        """Return every version that the server knows, loaded or not; raise `ClassifierError`."""
        with rpc_errors(self.address):
            return messages.version_states(
                self._index(oip.RepositoryIndexRequest(), timeout=timeout_s)
            )

    def load_model(
        self, name: str, version: str = "", *, timeout_s: float = LOAD_TIMEOUT_S
    ) -> None:
        """Load what the server's version policy asks for of a name; return when it answers.

        With a `version`, load only that one, beside those that are loaded. The server goes on if
        the time is over. Raises `ClassifierError`: then what was loaded goes on.
        """
        with rpc_errors(self.address):
            self._load(messages.load_request(name, version), timeout=timeout_s)

    def unload_model(
        self, name: str, version: str = "", *, timeout_s: float = LOAD_TIMEOUT_S
    ) -> None:
        """Unload all versions of a name, or one; return when they have answered what they had.

        Raises `ClassifierError`.
        """
        with rpc_errors(self.address):
            self._unload(messages.unload_request(name, version), timeout=timeout_s)


class AsyncClassifierClient:
    """The same for asyncio; use it as an async context manager within one event loop."""

    def __init__(
        self, address: str = DEFAULT_ADDRESS, *, token: str | None = None, tls: Tls | None = None
    ) -> None:
        self.address = address
        self._metadata = access.metadata(address, token, tls)
        options = [*OPTIONS, *proxies.options(address)]
        self._channel = (
            grpc.aio.secure_channel(address, access.credentials(tls), options)
            if tls
            else grpc.aio.insecure_channel(address, options)
        )
        self._classify = self._method(CLASSIFY)
        self._get_model = self._method(GET_MODEL)
        self._list_models = self._method(LIST_MODELS)
        self._index = self._method(INDEX)
        self._load = self._method(LOAD)
        self._unload = self._method(UNLOAD)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls in flight are cancelled."""
        await self._channel.close()

    def _method(self, method: Method[Request, Response]) -> Callable[..., Awaitable[Response]]:
        return partial(self._channel.unary_unary(*method), metadata=self._metadata)

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
        metadata = [*self._metadata, *_named(request_id)]
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

    async def list_versions(self, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> list[VersionState]:
        """As `ClassifierClient.list_versions`."""
        with rpc_errors(self.address):
            index = await self._index(oip.RepositoryIndexRequest(), timeout=timeout_s)
        return messages.version_states(index)

    async def load_model(
        self, name: str, version: str = "", *, timeout_s: float = LOAD_TIMEOUT_S
    ) -> None:
        """As `ClassifierClient.load_model`."""
        with rpc_errors(self.address):
            await self._load(messages.load_request(name, version), timeout=timeout_s)

    async def unload_model(
        self, name: str, version: str = "", *, timeout_s: float = LOAD_TIMEOUT_S
    ) -> None:
        """As `ClassifierClient.unload_model`."""
        with rpc_errors(self.address):
            await self._unload(messages.unload_request(name, version), timeout=timeout_s)
