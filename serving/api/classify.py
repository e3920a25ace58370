"""The Classifier service: requests of images, one by one or in a stream."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from functools import partial
from typing import TypeVar

import grpc

from protos import classifier_pb2 as pb
from serving.api.call import Call, Metadata
from serving.api.fields import check_name
from serving.api.messages import (
    MANY_CLASSES,
    classes_of,
    is_large,
    to_model,
    to_response,
)
from serving.api.requests import Requests, only_error, to_serving_error
from serving.api.status import CODES, retry_metadata, to_status
from serving.api.wire import Request, id_of
from serving.engine.job import Answer
from serving.engine.model import Model
from serving.engine.repository import ModelRepository
from serving.errors import ServingError
from serving.lifecycle import Readiness, State, unless

PLACES_PER_STREAM = 32
Message = TypeVar("Message")


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
            caller = _Caller(self._requests, request.options, call, model)
            model.submit(request, caller, len(message))
        except Exception as error:  # noqa: BLE001 - the call ends with it
            call.fail(*_status(error))

    async def ClassifyStream(  # noqa: N802
        self, messages: AsyncIterator[bytes], call: Call
    ) -> None:
        """Answer each request as soon as it is ready."""
        await _Stream(self._requests, self._readiness, call).serve(messages)

    async def GetModel(self, request: pb.GetModelRequest, call: Call) -> pb.Model:  # noqa: N802
        """Describe one model."""
        try:
            check_name("model", len(request.model.encode()))
            check_name("version", len(request.version.encode()))
            return self._describe(self._requests.repository.get(request.model, request.version))
        except Exception as error:  # noqa: BLE001 - the call ends with it
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
        self, requests: Requests, options: pb.ClassifyRequest, call: Call, model: Model
    ) -> None:
        self._options, self._call, self._model = options, call, model
        # The time that the message took to come counts, too.
        self.deadline = requests.deadline(call, call.arrived_s)
        self.keeps_time = call.deadline_s is not None  # gRPC ends the call at its deadline
        self.post = call.post

    def on_leave(self, leave: Callable[[], None]) -> None:
        """Have gRPC's thread call `leave` if the caller leaves."""
        self._call.on_leave = leave

    def answer(self, answers: list[Answer]) -> None:
        """Build the response here, or in a thread of its own if it is large."""
        if is_large(self._options, len(answers), self._model):
            self._call.run(partial(asyncio.to_thread, self._respond, answers))
        else:
            self._respond(answers)

    def _respond(self, answers: list[Answer]) -> None:
        try:
            if error := only_error(answers):
                self._call.fail(*_status(error))
            else:
                self._call.finish(to_response(self._options, self._model, answers))
        except Exception as failure:  # noqa: BLE001 - the call ends with it
            self._call.fail(*_status(failure))


class _Stream:
    """One call of `ClassifyStream`: requests of one caller, each answered when it is ready."""

    def __init__(self, requests: Requests, readiness: Readiness, call: Call) -> None:
        self._requests, self._closing, self._call = requests, readiness.closing, call
        self._places = asyncio.Semaphore(PLACES_PER_STREAM)
        self._writing = asyncio.Lock()

    async def serve(self, messages: AsyncIterator[bytes]) -> None:
        """Answer all requests; read on only while few are in flight, until the server closes."""
        async with (
            aclosing(messages_until(self._closing, messages)) as received,
            asyncio.TaskGroup() as answers,
        ):
            async for message in received:
                await self._begin(message, answers)
            is_cut_off = self._closing.is_set()
        if is_cut_off:
            # There may be requests that were sent and not read: OK would claim that all have
            # their answers.
            await self._call.abort(grpc.StatusCode.UNAVAILABLE, "the server is draining")

    async def _begin(self, message: bytes, answers: asyncio.TaskGroup) -> None:
        """Answer a request, once the answers before it leave room for its own."""
        try:
            request = self._requests.parse(message)
            model = self._requests.model(request)
        except Exception as error:  # noqa: BLE001 - the response holds it
            failure = _failed(id_of(message, self._requests.max_images), to_serving_error(error))
            await self._places.acquire()
            answers.create_task(self._write(failure, 1))
            return
        places = _places(request, model)
        for _ in range(places):
            await self._places.acquire()
        answers.create_task(self._answer(request, model, len(message), places))

    async def _answer(self, request: Request, model: Model, nbytes: int, places: int) -> None:
        try:
            response = await self._response(request, model, nbytes)
        except Exception as error:  # noqa: BLE001 - the response holds it
            response = _failed(request.options.id, to_serving_error(error))
        del request  # it may be larger than the response, which may wait to be read
        await self._write(response, places)

    async def _write(self, response: bytes, places: int) -> None:
        async with self._writing:
            await self._call.write(response)
        for _ in range(places):
            self._places.release()

    async def _response(self, request: Request, model: Model, nbytes: int) -> bytes:
        deadline, options = self._requests.deadline(self._call, time.monotonic()), request.options
        answers = await model.classify(request, deadline, nbytes)
        if error := only_error(answers):
            return _failed(options.id, error)

        def build() -> bytes:
            return to_response(options, model, answers).SerializeToString()

        is_slow = is_large(options, len(answers), model)
        return await asyncio.to_thread(build) if is_slow else build()


async def messages_until(
    stop: asyncio.Event, messages: AsyncIterator[Message]
) -> AsyncGenerator[Message, None]:
    """Yield messages until they end or `stop` is set."""

    async def read() -> Message | None:
        return await anext(messages, None)

    while (message := await unless(stop, read())) is not None:
        yield message


def _places(request: Request, model: Model) -> int:
    """Return how many of a stream's places an answer takes: a large one takes all.

    So a stream that is not read holds no more than one large answer, or a few small ones.
    """
    return min(
        1 + classes_of(request.options, len(request), model) // MANY_CLASSES, PLACES_PER_STREAM
    )


def _failed(request_id: str, error: ServingError) -> bytes:
    return pb.ClassifyResponse(id=request_id, status=to_status(error)).SerializeToString()


def _status(error: Exception) -> tuple[grpc.StatusCode, str, Metadata]:
    visible = to_serving_error(error)
    return CODES[type(visible)].grpc, str(visible), retry_metadata(visible)
