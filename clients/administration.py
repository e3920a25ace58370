"""What administrators call: versions that are loaded and unloaded, and labels that move."""

from collections.abc import Awaitable, Callable
from functools import partial
from types import ModuleType

import grpc

from clients import messages
from clients.access import Metadata
from clients.errors import rpc_errors
from clients.methods import DEFAULT_TIMEOUT_S, SET_LABEL, Method, Request, Response
from clients.types import VersionLabel, VersionState
from protos import classifier_pb2 as pb

# Loading a large network, and proving it beside one that answers, takes minutes.
LOAD_TIMEOUT_S = 1800.0


def open_inference() -> ModuleType:
    """Return the module of these calls; RuntimeError if another library has their messages."""
    try:
        from clients import open_inference as calls
    except TypeError as error:  # protobuf's, of names that are taken
        raise RuntimeError(
            f"this process has the messages of the Open Inference Protocol from another library, "
            f"such as tritonclient, and protobuf allows them once: load and unload with that "
            f"library, or in another process ({error})"
        ) from error
    return calls


class Administration:
    """The calls of a blocking client."""

    address: str
    _channel: grpc.Channel
    _metadata: Metadata

    def _method(
        self, method: Method[Request, Response], channel: grpc.Channel | None = None
    ) -> Callable[..., Response]:
        """Return what calls a method, and shows the token each time."""
        return partial((channel or self._channel).unary_unary(*method), metadata=self._metadata)

    def set_label(
        self,
        model: str,
        label: str,
        version: str,
        *,
        share: float = 0.0,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> tuple[VersionLabel, ...]:
        """Point a label at a loaded version, or at what another label stands for.

        The label `canary` may have a share of the requests without a version, 0 to 1. Returns all
        labels that the model has then; raises `ClassifierError`.
        """
        request = pb.SetLabelRequest(model=model, label=label, version=version, share=share)
        with rpc_errors(self.address):
            response = self._method(SET_LABEL)(request, timeout=timeout_s)
        return messages.version_labels(response.labels)

    def remove_label(
        self, model: str, label: str, *, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> tuple[VersionLabel, ...]:
        """Remove a label; return the others, or raise `ClassifierError`."""
        request = pb.SetLabelRequest(model=model, label=label, remove=True)
        with rpc_errors(self.address):
            response = self._method(SET_LABEL)(request, timeout=timeout_s)
        return messages.version_labels(response.labels)

    def list_versions(self, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> list[VersionState]:
        """Return every version that the server knows, loaded or not; raise `ClassifierError`."""
        calls = open_inference()
        with rpc_errors(self.address):
            index = self._method(calls.INDEX)(calls.index_request(), timeout=timeout_s)
        states: list[VersionState] = calls.version_states(index)
        return states

    def load_model(
        self, name: str, version: str = "", *, timeout_s: float = LOAD_TIMEOUT_S
    ) -> None:
        """Load what the server's version policy asks for of a name; return when it answers.

        With a `version`, load only that one, beside those that are loaded. The server goes on if
        the time is over. Raises `ClassifierError`: then what was loaded goes on.
        """
        calls = open_inference()
        with rpc_errors(self.address):
            self._method(calls.LOAD)(calls.load_request(name, version), timeout=timeout_s)

    def unload_model(
        self, name: str, version: str = "", *, timeout_s: float = LOAD_TIMEOUT_S
    ) -> None:
        """Unload all versions of a name, or one; return when they have answered what they had.

        Raises `ClassifierError`.
        """
        calls = open_inference()
        with rpc_errors(self.address):
            self._method(calls.UNLOAD)(calls.unload_request(name, version), timeout=timeout_s)


class AsyncAdministration:
    """The same for asyncio."""

    address: str
    _channel: grpc.aio.Channel
    _metadata: Metadata

    def _method(
        self, method: Method[Request, Response], channel: grpc.aio.Channel | None = None
    ) -> Callable[..., Awaitable[Response]]:
        return partial((channel or self._channel).unary_unary(*method), metadata=self._metadata)

    async def set_label(
        self,
        model: str,
        label: str,
        version: str,
        *,
        share: float = 0.0,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> tuple[VersionLabel, ...]:
        """As `ClassifierClient.set_label`."""
        request = pb.SetLabelRequest(model=model, label=label, version=version, share=share)
        with rpc_errors(self.address):
            response = await self._method(SET_LABEL)(request, timeout=timeout_s)
        return messages.version_labels(response.labels)

    async def remove_label(
        self, model: str, label: str, *, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> tuple[VersionLabel, ...]:
        """As `ClassifierClient.remove_label`."""
        request = pb.SetLabelRequest(model=model, label=label, remove=True)
        with rpc_errors(self.address):
            response = await self._method(SET_LABEL)(request, timeout=timeout_s)
        return messages.version_labels(response.labels)

    async def list_versions(self, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> list[VersionState]:
        """As `ClassifierClient.list_versions`."""
        calls = open_inference()
        with rpc_errors(self.address):
            index = await self._method(calls.INDEX)(calls.index_request(), timeout=timeout_s)
        states: list[VersionState] = calls.version_states(index)
        return states

    async def load_model(
        self, name: str, version: str = "", *, timeout_s: float = LOAD_TIMEOUT_S
    ) -> None:
        """As `ClassifierClient.load_model`."""
        calls = open_inference()
        with rpc_errors(self.address):
            await self._method(calls.LOAD)(calls.load_request(name, version), timeout=timeout_s)

    async def unload_model(
        self, name: str, version: str = "", *, timeout_s: float = LOAD_TIMEOUT_S
    ) -> None:
        """As `ClassifierClient.unload_model`."""
        calls = open_inference()
        with rpc_errors(self.address):
            await self._method(calls.UNLOAD)(calls.unload_request(name, version), timeout=timeout_s)
