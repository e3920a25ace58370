"""The Classifier service."""

from collections.abc import AsyncIterator, Callable
from functools import partial

import grpc

from protos import classifier_pb2 as pb
from serving.api.call import Call, Metadata
from serving.api.classify_stream import Stream
from serving.api.messages import to_model, to_response, to_sources
from serving.api.requests import Requests, is_large, known, only_error, response_aside
from serving.api.status import CODES, retry_metadata
from serving.engine import job
from serving.engine.model import Model, results
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

    def admits(self, call: Call) -> bool:
        """Refuse a call before its request is read where that does not depend on it."""
        try:
            self._requests.check(call)
        except Exception as error:  # noqa: BLE001 - told to the caller
            self._fail(call, error)
            return False
        return True

    def Classify(self, request: pb.ClassifyRequest, call: Call) -> None:  # noqa: N802
        """Classify the images of one request: admitted and answered on gRPC's thread."""
        try:
            self._submit(request, call)
        except Exception as error:  # noqa: BLE001 - told to the caller
            self._fail(call, error)

    async def ClassifyStream(  # noqa: N802
        self, messages: AsyncIterator[pb.ClassifyRequest], call: Call
    ) -> None:
        """Answer each request as soon as it is ready."""
        await Stream(self._requests, self._readiness, call).serve(messages)

    async def GetModel(self, request: pb.GetModelRequest, call: Call) -> pb.Model:  # noqa: N802
        """Describe one model."""
        await self._readiness.may_answer()
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
        await self._readiness.may_answer()
        models = self._requests.repository.all()
        return pb.ListModelsResponse(models=[self._describe(model) for model in models])

    def _describe(self, model: Model) -> pb.Model:
        ready = self._readiness.state is State.SERVING and model.ready
        return to_model(model, self._requests.max_images, ready=ready)

    def _submit(self, request: pb.ClassifyRequest, call: Call) -> None:
        model, deadline = self._requests.model(request), self._requests.deadline(call)

        def ended(images: job.Call) -> None:
            try:
                self._respond(request, call, model, images)
            except Exception as error:  # noqa: BLE001 - told to the caller
                self._fail(call, error)

        images = model.submit(to_sources(request), deadline, ended, call.post, call.request_bytes)
        call.on_leave = partial(model.leave, images)
        if call.time_remaining() is None:  # else gRPC ends the call
            model.end_in_time(images)

    def _respond(
        self, request: pb.ClassifyRequest, call: Call, model: Model, images: job.Call
    ) -> None:
        answers = results(images)
        if error := only_error(answers):
            self._fail(call, error)
        elif is_large(request, model):
            call.run(partial(self._respond_aside, request, call, model, answers))
        else:
            self._end(call, partial(call.finish, to_response(request, model, answers)))

    async def _respond_aside(
        self, request: pb.ClassifyRequest, call: Call, model: Model, answers: list[job.Answer]
    ) -> None:
        try:
            response = await response_aside(request, model, answers)
        except Exception as error:  # noqa: BLE001 - told to the caller
            self._fail(call, error)
        else:
            self._end(call, partial(call.finish, response))

    def _fail(self, call: Call, error: Exception) -> None:
        self._end(call, partial(call.fail, *_status(error)))

    def _end(self, call: Call, end: Callable[[], None]) -> None:
        """End a call, in a drain not before clients know of it."""
        if self._readiness.draining.is_set():
            call.run(partial(self._hold, end))
        else:
            end()

    async def _hold(self, end: Callable[[], None]) -> None:
        await self._readiness.may_answer()
        end()


def _status(error: Exception) -> tuple[grpc.StatusCode, str, Metadata]:
    told = known(error)
    return CODES[type(told)].grpc, str(told), retry_metadata(told)
