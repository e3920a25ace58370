"""The GRPCInferenceService: the same engine as Classifier's, in the words of the protocol."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc

from protos import open_inference_pb2 as pb
from serving.api.call import Call
from serving.api.oip.catalog import LOG, MEMORY, TRACES, Catalog
from serving.api.oip.infer import ImageInference
from serving.api.oip.loading import version_to_load, version_to_unload
from serving.api.oip.statistics import statistics
from serving.api.requests import Requests
from serving.api.status import failure
from serving.repository.control import Control

Method = Callable[["OpenInference", Any, Call], Awaitable[Any]]


def _unimplemented(why: str) -> Method:
    async def refuse(self: "OpenInference", request: Any, call: Call) -> None:  # noqa: ARG001
        await call.abort(grpc.StatusCode.UNIMPLEMENTED, why)

    return refuse


def _answering(method: Callable[["OpenInference", Any], Any]) -> Method:
    """Return a method that ends its call with what the other one raises."""

    async def respond(self: "OpenInference", request: Any, call: Call) -> Any:
        try:
            return method(self, request)
        except Exception as error:  # noqa: BLE001 - the call ends with it
            await call.abort(*failure(error, call.request_id))

    return respond


class OpenInference(ImageInference):
    """Answers `inference.GRPCInferenceService`.

    Args:
        requests: what requests may ask for.
    """

    _requests: Requests

    def __init__(self, requests: Requests) -> None:
        super().__init__(requests)
        self._catalog = Catalog(requests)

    @_answering
    def ServerLive(self, request: pb.ServerLiveRequest) -> Any:  # noqa: N802, ARG002
        """Return that the process lives."""
        return pb.ServerLiveResponse(live=True)

    @_answering
    def ServerReady(self, request: pb.ServerReadyRequest) -> Any:  # noqa: N802, ARG002
        """Return whether a model answers."""
        return pb.ServerReadyResponse(ready=self._catalog.ready)

    @_answering
    def ModelReady(self, request: pb.ModelReadyRequest) -> Any:  # noqa: N802
        """Return whether a certain one does."""
        ready = self._catalog.model_ready(request.name, request.version)
        return pb.ModelReadyResponse(ready=ready)

    @_answering
    def ServerMetadata(self, request: pb.ServerMetadataRequest) -> Any:  # noqa: N802, ARG002
        """Describe the server."""
        return self._catalog.server()

    @_answering
    def ModelMetadata(self, request: pb.ModelMetadataRequest) -> Any:  # noqa: N802
        """Describe the tensors of a model."""
        return self._catalog.metadata(request.name, request.version)

    @_answering
    def ModelConfig(self, request: pb.ModelConfigRequest) -> Any:  # noqa: N802
        """Describe a model in more detail."""
        return pb.ModelConfigResponse(config=self._catalog.config(request.name, request.version))

    @_answering
    def ModelStatistics(self, request: pb.ModelStatisticsRequest) -> Any:  # noqa: N802
        """Count what models have done."""
        return statistics(self._requests.repository, request.name, request.version)

    @_answering
    def RepositoryIndex(self, request: pb.RepositoryIndexRequest) -> Any:  # noqa: N802
        """List the models."""
        return self._catalog.index(only_ready=request.ready)

    async def RepositoryModelLoad(  # noqa: N802
        self, request: pb.RepositoryModelLoadRequest, call: Call
    ) -> pb.RepositoryModelLoadResponse:
        """Load a model; answer when it answers."""
        try:
            version = version_to_load(_parameters(request.parameters))
            await self._control().load(request.model_name, version)
        except Exception as error:  # noqa: BLE001 - the call ends with it
            await call.abort(*failure(error, call.request_id))
        return pb.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(  # noqa: N802
        self, request: pb.RepositoryModelUnloadRequest, call: Call
    ) -> pb.RepositoryModelUnloadResponse:
        """Unload a model; answer when it has answered what it had."""
        try:
            version = version_to_unload(_parameters(request.parameters))
            await self._control().unload(request.model_name, version)
        except Exception as error:  # noqa: BLE001 - the call ends with it
            await call.abort(*failure(error, call.request_id))
        return pb.RepositoryModelUnloadResponse()

    SystemSharedMemoryStatus = SystemSharedMemoryRegister = _unimplemented(MEMORY)
    SystemSharedMemoryUnregister = CudaSharedMemoryUnregister = _unimplemented(MEMORY)
    CudaSharedMemoryStatus = CudaSharedMemoryRegister = _unimplemented(MEMORY)
    TraceSetting = _unimplemented(TRACES)
    LogSettings = _unimplemented(LOG)

    def _control(self) -> Control:
        self._requests.readiness.check()
        return self._requests.control


def _parameters(stated: Mapping[str, pb.ModelRepositoryParameter]) -> dict[str, object]:
    kinds = {name: each.WhichOneof("parameter_choice") for name, each in stated.items()}
    return {name: getattr(stated[name], kind) if kind else None for name, kind in kinds.items()}
