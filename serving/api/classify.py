"""The Classifier service."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Never

import grpc

from protos import classifier_pb2 as pb
from serving.api.messages import check_count, to_model, to_response, to_sources
from serving.api.status import CODES, retry_metadata, to_status
from serving.api.streams import messages_until
from serving.engine.model import Model
from serving.engine.repository import ModelRepository
from serving.errors import InternalError, ServingError
from serving.readiness import Readiness, State
from serving.transport.call import Call

REQUESTS_PER_STREAM = 32
# A response of more classes is built outside the event loop: each takes some microseconds.
MANY_CLASSES = 2000


class Classifier:
    """Answers `resnext.serving.v1.Classifier`.

    A caller that cancels, or whose deadline passes, cancels the coroutine that serves it, and
    with it the image jobs.

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
        self._repository, self._readiness = repository, readiness
        self._max_images, self._default_timeout_s = max_images_per_request, default_timeout_s

    async def Classify(  # noqa: N802
        self, request: pb.ClassifyRequest, context: Call
    ) -> pb.ClassifyResponse:
        """Classify the images of one request."""
        try:
            response = await self._classify(request, context.request_bytes, context)
        except Exception as error:  # noqa: BLE001 - told to the caller
            await self._readiness.may_answer()
            await _abort(context, error)
        await self._readiness.may_answer()
        return response

    async def ClassifyStream(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.ClassifyRequest], context: Call
    ) -> None:
        """Answer each request as soon as it is ready; read on only while few are in flight."""
        places = asyncio.Semaphore(REQUESTS_PER_STREAM)
        writing = asyncio.Lock()

        async def answer(request: pb.ClassifyRequest) -> None:
            response = await self._answer(request, context)
            async with writing:
                await context.write(response)
            places.release()

        async with (
            aclosing(messages_until(self._readiness.draining, request_iterator)) as requests,
            asyncio.TaskGroup() as answers,
        ):
            async for request in requests:
                await places.acquire()
                answers.create_task(answer(request))
            cut_off = self._readiness.draining.is_set()
        if cut_off:
            # There may be requests that were sent and not read: OK would claim that all have
            # their answers.
            await self._readiness.may_answer()
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the server is draining")

    async def GetModel(  # noqa: N802
        self, request: pb.GetModelRequest, context: Call
    ) -> pb.Model:
        """Describe one model."""
        await self._readiness.may_answer()
        try:
            return self._describe(self._repository.get(request.model, request.version))
        except Exception as error:  # noqa: BLE001 - told to the caller
            await _abort(context, error)

    async def ListModels(  # noqa: N802
        self,
        request: pb.ListModelsRequest,  # noqa: ARG002
        context: Call,  # noqa: ARG002
    ) -> pb.ListModelsResponse:
        """Describe all models."""
        await self._readiness.may_answer()
        models = self._repository.all()
        return pb.ListModelsResponse(models=[self._describe(model) for model in models])

    def _describe(self, model: Model) -> pb.Model:
        ready = self._readiness.state is State.SERVING and model.ready
        return to_model(model, self._max_images, ready=ready)

    async def _classify(
        self, request: pb.ClassifyRequest, nbytes: int, context: Call
    ) -> pb.ClassifyResponse:
        model = self._repository.get(request.model, request.version)
        deadline = self._deadline(context)
        check_count(request, self._max_images)
        answers = await model.classify(to_sources(request), deadline, nbytes)
        if len(answers) == 1 and isinstance(answers[0], ServingError):
            raise answers[0]
        if len(answers) * (request.top_k or len(model.bundle.manifest.labels)) > MANY_CLASSES:
            return await asyncio.to_thread(to_response, request, model, answers)
        return to_response(request, model, answers)

    async def _answer(self, request: pb.ClassifyRequest, context: Call) -> pb.ClassifyResponse:
        try:
            return await self._classify(request, request.ByteSize(), context)
        except Exception as error:  # noqa: BLE001 - told to the caller
            return pb.ClassifyResponse(id=request.id, status=to_status(_known(error)))

    def _deadline(self, context: Call) -> float:
        remaining = context.time_remaining()
        return time.monotonic() + (self._default_timeout_s if remaining is None else remaining)


async def _abort(context: Call, error: Exception) -> Never:
    known = _known(error)
    await context.abort(CODES[type(known)].grpc, str(known), retry_metadata(known))


def _known(error: Exception) -> ServingError:
    return error if isinstance(error, ServingError) else InternalError.logged(error)
