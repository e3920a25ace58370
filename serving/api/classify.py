"""The Classifier service: requests of images, one by one or in a stream."""

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial

from protos import classifier_pb2 as pb
from serving.api.call import Call
from serving.api.caller import UnaryCaller
from serving.api.fields import check_name
from serving.api.messages import classes_of, is_large, to_model, to_response
from serving.api.requests import Requests, check_only
from serving.api.status import failure, to_serving_error, to_status
from serving.api.stream import Pending, Stream, places
from serving.api.wire import id_of
from serving.engine.job import Answer
from serving.engine.model import Model
from serving.engine.repository import ModelRepository
from serving.lifecycle import Readiness, State


class Classifier:
    """Answers `resnext.serving.v1.Classifier`.

    When a caller cancels, or its deadline passes, the jobs of its images end too.

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

    def Classify(self, message: bytes, call: Call) -> None:  # noqa: N802
        """Classify the images of one request: admitted and answered on gRPC's thread."""
        try:
            request = self._requests.parse(message)
            model = self._requests.model(request)
            options = request.options
            caller = UnaryCaller(
                call,
                # The time that the message took to come counts, too.
                self._requests.deadline(call, call.arrived_s),
                partial(_response, options, model),
                is_large=is_large(options, len(request), model),
            )
            model.submit(request, caller, len(message))
        except Exception as error:  # noqa: BLE001 - the call ends with it
            call.fail(*failure(error))

    async def ClassifyStream(  # noqa: N802
        self, messages: AsyncIterator[bytes], call: Call
    ) -> None:
        """Answer each request as soon as it is ready."""
        await Stream(call, self._readiness.closing, partial(self._read, call)).serve(messages)

    async def GetModel(self, request: pb.GetModelRequest, call: Call) -> pb.Model:  # noqa: N802
        """Describe one model."""
        try:
            check_name("model", len(request.model.encode()))
            check_name("version", len(request.version.encode()))
            return self._describe(self._requests.repository.get(request.model, request.version))
        except Exception as error:  # noqa: BLE001 - the call ends with it
            await call.abort(*failure(error))

    async def ListModels(  # noqa: N802
        self,
        request: pb.ListModelsRequest,  # noqa: ARG002
        call: Call,  # noqa: ARG002
    ) -> pb.ListModelsResponse:
        """Describe all models."""
        models = self._requests.repository.all()
        return pb.ListModelsResponse(models=[self._describe(model) for model in models])

    def _read(self, call: Call, message: bytes) -> Pending:
        try:
            request = _Streamed(self._requests, call, message)
        except Exception as error:  # noqa: BLE001 - the response holds it
            failed = _failed(id_of(message, self._requests.max_images), error)
            return Pending(1, partial(_return, failed))
        return Pending(places(request.classes), request.respond)

    def _describe(self, model: Model) -> pb.Model:
        ready = self._readiness.state is State.SERVING and model.ready
        return to_model(model, self._requests.max_images, ready=ready)


class _Streamed:
    """A request of a `ClassifyStream`."""

    def __init__(self, requests: Requests, call: Call, message: bytes) -> None:
        self._request = requests.parse(message)
        self._model = requests.model(self._request)
        self._requests, self._call, self._nbytes = requests, call, len(message)

    @property
    def classes(self) -> int:
        """Number of classes in its response."""
        return classes_of(self._request.options, len(self._request), self._model)

    async def respond(self) -> bytes:
        """Return its response, which may say why it failed."""
        options = self._request.options
        try:
            return await self._answered(options)
        except Exception as error:  # noqa: BLE001 - the response holds it
            return _failed(options.id, error)

    async def _answered(self, options: pb.ClassifyRequest) -> bytes:
        deadline = self._requests.deadline(self._call, time.monotonic())
        model = self._model
        answers = await model.classify(self._request, deadline, self._nbytes)

        def build() -> bytes:
            return _response(options, model, answers).SerializeToString()

        is_slow = is_large(options, len(answers), model)
        return await asyncio.to_thread(build) if is_slow else build()


def _response(
    options: pb.ClassifyRequest, model: Model, answers: list[Answer]
) -> pb.ClassifyResponse:
    check_only(answers)
    return to_response(options, model, answers)


async def _return(response: bytes) -> bytes:
    return response


def _failed(request_id: str, error: Exception) -> bytes:
    status = to_status(to_serving_error(error))
    return pb.ClassifyResponse(id=request_id, status=status).SerializeToString()
