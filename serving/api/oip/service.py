"""The GRPCInferenceService: the same engine as Classifier's, in the words of the protocol."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import grpc

from protos import open_inference_pb2 as pb
from serving.api.call import Call
from serving.api.caller import UnaryCaller
from serving.api.messages import MANY_CLASSES
from serving.api.oip.catalog import LOG, MEMORY, TRACES, Catalog
from serving.api.oip.inputs import Images, images
from serving.api.oip.loading import version_to_load, version_to_unload
from serving.api.oip.names import Named, find
from serving.api.oip.outputs import answer, check_outputs, classes_of
from serving.api.oip.statistics import statistics
from serving.api.oip.tensors import InferRequest
from serving.api.oip.wire import id_of, parse, to_message
from serving.api.requests import Requests
from serving.api.status import failure
from serving.api.stream import Pending, Stream, answered, places, told
from serving.engine.job import Answer
from serving.engine.model import Hold
from serving.errors import ServingError
from serving.record.record import Record
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


class OpenInference:
    """Answers `inference.GRPCInferenceService`.

    Args:
        requests: what requests may ask for.
    """

    def __init__(self, requests: Requests) -> None:
        self._requests, self._catalog = requests, Catalog(requests)

    def ModelInfer(self, message: bytes, call: Call) -> None:  # noqa: N802
        """Classify the images of one request: admitted and answered on gRPC's thread."""
        try:
            asked, found = self._asked(message, call.request_id)
            until = self._deadline(asked, call, call.arrived_s)
            if call.record:
                call.record.asked(asked.named.model, len(found), asked.request.id, until)
            caller = UnaryCaller(call, until, asked.response, is_large=asked.is_large)
            asked.named.model.submit(found, caller, len(message))
        except Exception as error:  # noqa: BLE001 - the call ends with it
            call.fail(*failure(error, call.request_id))

    async def ModelStreamInfer(  # noqa: N802
        self, messages: AsyncIterator[bytes], call: Call
    ) -> None:
        """Answer each request as soon as it is ready."""
        closing = self._requests.readiness.closing
        await Stream(call, closing, partial(self._read, call)).serve(messages)

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

    def _asked(self, message: bytes, request_id: str) -> "tuple[_Asked, Images]":
        request = parse(message, self._requests.max_images)
        request_id = request.id or request_id  # its own comes before the call's
        named = find(self._requests.repository, request.model, request.version, request_id)
        check_outputs(request, named)
        found = images(request, named, self._requests.max_images)
        request.inputs.clear()  # they hold the message, which may be large
        return _Asked(request, named, len(found)), found

    def _deadline(self, asked: "_Asked", call: Call, since_s: float) -> float:
        return self._requests.deadline(since_s, call.deadline_s, asked.request.timeout_us)

    def _read(self, call: Call, message: bytes, record: Record | None) -> Pending:
        try:
            asked, found = self._asked(message, call.request_id)
        except Exception as error:  # noqa: BLE001 - the response holds it
            return answered(_failed(id_of(message), told(error, call, record)))
        # It may wait for others of the stream.
        hold = asked.named.model.hold()
        respond = partial(self._respond, asked, found, call, len(message), record, hold)
        return Pending(places(asked.classes), respond)

    async def _respond(
        self,
        asked: "_Asked",
        found: Images,
        call: Call,
        nbytes: int,
        record: Record | None,
        hold: Hold,  # noqa: ARG002 - until the answer
    ) -> bytes:
        until = self._deadline(asked, call, time.monotonic())
        if record:
            record.asked(asked.named.model, len(found), asked.request.id, until)
        answering = asked.named.model.classify(found, until, nbytes, call.caller)
        del found  # they are parts of the message, and were copied out of it
        try:
            answers = await answering
            if record:
                record.answered(answers)
            if asked.is_large:
                return await asyncio.to_thread(asked.streamed, answers)
            return asked.streamed(answers)
        except Exception as error:  # noqa: BLE001 - the response holds it
            return _failed(asked.request.id, told(error, call, record))


class _Asked(NamedTuple):
    """A request without its inputs, the model that answers it, and how many images it has."""

    request: InferRequest
    named: Named
    images: int

    @property
    def classes(self) -> int:
        """How many classes the response names."""
        return classes_of(self.request, self.named, self.images)

    @property
    def is_large(self) -> bool:
        """Whether building the response takes so long that it should have a thread of its own."""
        return self.classes > MANY_CLASSES

    def response(self, answers: list[Answer]) -> pb.ModelInferResponse:
        """Return the response; raise the error of an image."""
        return to_message(answer(self.request, self.named, answers))

    def streamed(self, answers: list[Answer]) -> bytes:
        """Return the bytes of the response in a stream; raise the error of an image."""
        response = answer(self.request, self.named, answers)
        message = to_message(response, is_final=self.request.wants_final)
        return pb.ModelStreamInferResponse(infer_response=message).SerializeToString()


def _parameters(stated: Mapping[str, pb.ModelRepositoryParameter]) -> dict[str, object]:
    kinds = {name: each.WhichOneof("parameter_choice") for name, each in stated.items()}
    return {name: getattr(stated[name], kind) if kind else None for name, kind in kinds.items()}


def _failed(message_id: str, error: ServingError) -> bytes:
    return pb.ModelStreamInferResponse(
        error_message=str(error), infer_response={"id": message_id}
    ).SerializeToString()
