"""The Classifier service."""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial

import grpc

from protos import classifier_pb2 as pb
from serving.api.call import Call, Metadata
from serving.api.classify_stream import Stream
from serving.api.messages import RequestImages, is_large, to_model, to_response
from serving.api.requests import Requests, only_error, to_serving_error
from serving.api.status import CODES, retry_metadata
from serving.engine.job import Answer
from serving.engine.model import Model
from serving.engine.repository import ModelRepository
from serving.readiness import Readiness, State


class Classifier:
    """Answers `resnext.serving.v1.Classifier`.

    A caller that cancels, or whose deadline passes, takes its image jobs along.

    Args:
        repository: the loaded models.
        readiness: the server's state.
        max_images_per_request: largest number of images.
        default_timeout_s: the deadline of a request that has none, in seconds.
    """

    def __init__(
        self,
        repository: ModelRepository,
        readiness: Readiness,
        *,
        max_images_per_request: int,
        default_timeout_s: float,
    ) -> None:
        self._requests = Requests(repository, max_images_per_request, default_timeout_s)
        self._readiness = readiness

    def Classify(self, request: pb.ClassifyRequest, call: Call) -> None:  # noqa: N802
        """Classify the images of one request: admitted and answered on gRPC's thread."""
        try:
            model = self._requests.model(request)
            caller = _Caller(self._requests, request, call, model)
            model.submit(RequestImages(request), caller, call.request_bytes)
        except Exception as error:  # noqa: BLE001 - the caller is told
            call.fail(*_status(error))

    async def ClassifyStream(  # noqa: N802
        self, messages: AsyncIterator[pb.ClassifyRequest], call: Call
    ) -> None:
        """Answer each request as soon as it is ready."""
        await Stream(self._requests, self._readiness, call).serve(messages)

    async def GetModel(self, request: pb.GetModelRequest, call: Call) -> pb.Model:  # noqa: N802
        """Describe one model."""
        try:
            return self._describe(self._requests.repository.get(request.model, request.version))
        except Exception as error:  # noqa: BLE001 - told to the caller
            await call.abort(*_status(error))

    async def ListModels(  # noqa: N802
        self,
        request: pb.ListModelsRequest,  # noqa: ARG002
        call: Call,  # noqa: ARG002
    ) -> pb.ListModelsResponse:
        """Describe all models."""
        models = self._requests.repository.all()
        return pb.ListModelsResponse(models=[self._describe(model) for model in models])

    def _describe(self, model: Model) -> pb.Model:
        ready = self._readiness.state is State.SERVING and model.ready
        return to_model(model, self._requests.max_images, ready=ready)


class _Caller:
    """The caller of one `Classify`, as the engine sees it."""

    def __init__(
        self, requests: Requests, request: pb.ClassifyRequest, call: Call, model: Model
    ) -> None:
        self._request, self._call, self._model = request, call, model
        remaining_s = call.time_remaining()
        self.deadline = requests.deadline(remaining_s)
        self.keeps_time = remaining_s is not None  # gRPC ends the call at its deadline
        self.post = call.post

    def on_leave(self, leave: Callable[[], None]) -> None:
        """Have gRPC's thread call `leave` if the caller leaves."""
        self._call.on_leave = leave

    def answer(self, answers: list[Answer]) -> None:
        """Build the response here, or in a thread of its own if it is large."""
        if is_large(self._request, self._model):
            self._call.run(partial(self._respond_aside, answers))
        else:
            self._respond(answers)

    def _respond(self, answers: list[Answer]) -> None:
        if error := only_error(answers):
            self._call.fail(*_status(error))
            return
        try:
            response = to_response(self._request, self._model, answers)
        except Exception as failure:  # noqa: BLE001 - the caller is told
            self._call.fail(*_status(failure))
        else:
            self._call.finish(response)

    async def _respond_aside(self, answers: list[Answer]) -> None:
        await asyncio.to_thread(self._respond, answers)


def _status(error: Exception) -> tuple[grpc.StatusCode, str, Metadata]:
    told = to_serving_error(error)
    return CODES[type(told)].grpc, str(told), retry_metadata(told)
