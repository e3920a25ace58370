"""`ClassifyStream`: many requests of one caller, answered as they become ready."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import grpc

from protos import classifier_pb2 as pb
from serving.api.call import Call
from serving.api.messages import RequestImages, is_large, to_response
from serving.api.requests import Requests, only_error, to_serving_error
from serving.api.status import to_status
from serving.errors import ServingError
from serving.readiness import Readiness
from serving.signals import messages_until

REQUESTS_PER_STREAM = 32


class Stream:
    """One call of `ClassifyStream`."""

    def __init__(self, requests: Requests, readiness: Readiness, call: Call) -> None:
        self._requests, self._readiness, self._call = requests, readiness, call
        self._places = asyncio.Semaphore(REQUESTS_PER_STREAM)
        self._writing = asyncio.Lock()

    async def serve(self, messages: AsyncIterator[pb.ClassifyRequest]) -> None:
        """Answer all requests; read on only while few are in flight, until the server closes."""
        async with (
            aclosing(messages_until(self._readiness.closing, messages)) as requests,
            asyncio.TaskGroup() as answers,
        ):
            async for request in requests:
                await self._places.acquire()
                answers.create_task(self._answer(request))
            is_cut_off = self._readiness.closing.is_set()
        if is_cut_off:
            # There may be requests that were sent and not read: OK would claim that all have
            # their answers.
            await self._call.abort(grpc.StatusCode.UNAVAILABLE, "the server is draining")

    async def _answer(self, request: pb.ClassifyRequest) -> None:
        try:
            response = await self._response(request)
        except Exception as error:  # noqa: BLE001 - told to the caller
            response = _failed(request, to_serving_error(error))
        async with self._writing:
            await self._call.write(response)
        self._places.release()

    async def _response(self, request: pb.ClassifyRequest) -> pb.ClassifyResponse:
        model = self._requests.model(request)
        deadline = self._requests.deadline(self._call.time_remaining())
        answers = await model.classify(RequestImages(request), deadline, request.ByteSize())
        if error := only_error(answers):
            return _failed(request, error)
        if is_large(request, model):
            return await asyncio.to_thread(to_response, request, model, answers)
        return to_response(request, model, answers)


def _failed(request: pb.ClassifyRequest, error: ServingError) -> pb.ClassifyResponse:
    return pb.ClassifyResponse(id=request.id, status=to_status(error))
