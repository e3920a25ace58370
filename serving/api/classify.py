"""The Classifier service: requests of images, one by one or in a stream."""

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial

from protos import classifier_pb2 as pb
from serving.api.call import Call
from serving.api.caller import UnaryCaller
from serving.api.fields import check_name
from serving.api.messages import classes_of, is_large, to_labels, to_response
from serving.api.requests import Requests, check_only
from serving.api.status import failure, to_status
from serving.api.stream import Pending, Stream, answered, places, told
from serving.api.wire import Request, id_of, parse
from serving.engine.job import Answer
from serving.engine.model import Hold, Model
from serving.engine.repository import Shelf
from serving.errors import InvalidRequestError, ServingError
from serving.record.record import Record


class Classifier:
    """Answers `resnext.serving.v1.Classifier`.

    When a caller cancels, or its deadline passes, the jobs of its images end too.

    Args:
        requests: what requests may ask for.
    """

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    def Classify(self, message: bytes, call: Call) -> None:  # noqa: N802
        """Classify the images of one request: admitted and answered on gRPC's thread."""
        try:
            request, model = self._asked(message, call.request_id)
            options = request.options
            # The time that the message took to come counts, too.
            deadline = self._requests.deadline(call.arrived_s, call.deadline_s)
            if call.record:
                call.record.asked(model, len(request), options.id, deadline)
            caller = UnaryCaller(
                call,
                deadline,
                partial(_response, options, model),
                is_large=is_large(options, len(request), model),
            )
            model.submit(request, caller, len(message))
        except Exception as error:  # noqa: BLE001 - the call ends with it
            call.fail(*failure(error, call.request_id))

    async def ClassifyStream(  # noqa: N802
        self, messages: AsyncIterator[bytes], call: Call
    ) -> None:
        """Answer each request as soon as it is ready."""
        closing = self._requests.readiness.closing
        await Stream(call, closing, partial(self._read, call)).serve(messages)

    async def GetModel(self, request: pb.GetModelRequest, call: Call) -> pb.Model:  # noqa: N802
        """Describe one model."""
        try:
            check_name("model", len(request.model.encode()))
            check_name("version", len(request.version.encode()))
            return self._requests.describe(
                self._requests.repository.get(request.model, request.version)
            )
        except Exception as error:  # noqa: BLE001 - the call ends with it
            await call.abort(*failure(error, call.request_id))

    async def SetLabel(  # noqa: N802
        self, request: pb.SetLabelRequest, call: Call
    ) -> pb.SetLabelResponse:
        """Point a label at a version, or remove it."""
        try:
            return pb.SetLabelResponse(labels=to_labels(await self._relabelled(request)))
        except Exception as error:  # noqa: BLE001 - the call ends with it
            await call.abort(*failure(error, call.request_id))

    async def ListModels(  # noqa: N802
        self,
        request: pb.ListModelsRequest,  # noqa: ARG002
        call: Call,  # noqa: ARG002
    ) -> pb.ListModelsResponse:
        """Describe all models."""
        models = self._requests.repository.all()
        return pb.ListModelsResponse(models=[self._requests.describe(one) for one in models])

    def _asked(self, message: bytes, request_id: str) -> tuple[Request, Model]:
        """Return a request, and the model that it asks for; its own id comes before the call's."""
        request = parse(message, self._requests.max_images)
        options = request.options
        model = self._requests.repository.get(
            options.model, options.version, options.id or request_id
        )
        if not request:
            raise InvalidRequestError("the request holds no image; send at least one in `images`")
        return request, model

    def _read(self, call: Call, message: bytes, record: Record | None) -> Pending:
        try:
            request, model = self._asked(message, call.request_id)
        except Exception as error:  # noqa: BLE001 - the response holds it
            message_id = id_of(message, self._requests.max_images)
            return answered(_failed(message_id, told(error, call, record)))
        classes = classes_of(request.options, len(request), model)
        # It may wait for others of the stream.
        respond = partial(self._respond, request, model, call, len(message), record, model.hold())
        return Pending(places(classes), respond)

    async def _respond(
        self,
        request: Request,
        model: Model,
        call: Call,
        nbytes: int,
        record: Record | None,
        hold: Hold,  # noqa: ARG002 - until the answer
    ) -> bytes:
        """Return the response in a stream, which may say why the request failed."""
        options = request.options
        deadline = self._requests.deadline(time.monotonic(), call.deadline_s)
        if record:
            record.asked(model, len(request), options.id, deadline)
        answering = model.classify(request, deadline, nbytes, call.caller)
        del request  # it holds the message, and the images were copied out of it
        try:
            answers = await answering
            if record:
                record.answered(answers)
            build = partial(_streamed, options, model, answers)
            is_slow = is_large(options, len(answers), model)
            return await asyncio.to_thread(build) if is_slow else build()
        except Exception as error:  # noqa: BLE001 - the response holds it
            return _failed(options.id, told(error, call, record))

    async def _relabelled(self, request: pb.SetLabelRequest) -> Shelf:
        """Return what is loaded, with the labels that were asked for."""
        check_name("model", len(request.model.encode()))
        check_name("version", len(request.version.encode()))
        self._requests.readiness.check()
        rollouts = self._requests.control.rollouts
        if request.remove:
            return await rollouts.remove(request.model, request.label)
        return await rollouts.set(request.model, request.label, request.version, request.share)


def _response(
    options: pb.ClassifyRequest, model: Model, answers: list[Answer]
) -> pb.ClassifyResponse:
    check_only(answers)
    return to_response(options, model, answers)


def _streamed(options: pb.ClassifyRequest, model: Model, answers: list[Answer]) -> bytes:
    return _response(options, model, answers).SerializeToString()


def _failed(message_id: str, error: ServingError) -> bytes:
    return pb.ClassifyResponse(id=message_id, status=to_status(error)).SerializeToString()
