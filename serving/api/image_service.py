"""What both services do with images: find the model, have it answer, and build the response."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Protocol

from serving.api.call import Call
from serving.api.caller import UnaryCaller
from serving.api.messages import MANY_CLASSES
from serving.api.requests import ImageRequests
from serving.api.status import failure
from serving.api.stream import Pending, Stream, answered, places, told
from serving.engine.admission import Sources
from serving.engine.job import Answer
from serving.engine.served import Hold, Served
from serving.errors import ServingError
from serving.record.record import Record


class Asked(Protocol):
    """A request that was read, but for its images."""

    @property
    def id(self) -> str:
        """Its own id; empty without one."""

    @property
    def model(self) -> Served:
        """The model that answers it."""

    @property
    def timeout_us(self) -> int | None:
        """The time that the request itself states, in microseconds."""

    @property
    def classes(self) -> int:
        """How many classes the response names."""

    def response(self, answers: list[Answer]) -> Any:
        """Return the response; raise the error with which the request fails."""

    def streamed(self, answers: list[Answer]) -> bytes:
        """Return the bytes of the response in a stream; raise as `response` does."""


class ImageService(ABC):
    """Answers requests of images, one by one or in a stream.

    When a caller cancels, or its deadline passes, the jobs of its images end too.

    Args:
        requests: what requests may ask for.
    """

    def __init__(self, requests: ImageRequests) -> None:
        self._requests = requests

    @abstractmethod
    def _asked(self, message: bytes, request_id: str) -> tuple[Asked, Sources]:
        """Return a request and its images; its own id comes before that of its call."""

    @abstractmethod
    def _id_of(self, message: bytes) -> str:
        """Return the id of a request that cannot be answered, as far as it can be read."""

    @abstractmethod
    def _failed(self, message_id: str, error: ServingError) -> bytes:
        """Return the bytes of the response in a stream that says why a request failed."""

    def _answer(self, message: bytes, call: Call) -> None:
        """Answer one request: admitted and answered on gRPC's thread."""
        try:
            asked, images = self._asked(message, call.request_id)
            # The time that the message took to come counts, too.
            deadline = self._deadline(asked, call, call.arrived_s)
            if call.record:
                call.record.asked(asked.model, len(images), asked.id, deadline)
            is_large = asked.classes > MANY_CLASSES
            caller = UnaryCaller(call, deadline, asked.response, is_large=is_large)
            asked.model.submit(images, caller, len(message))
        except Exception as error:  # noqa: BLE001 - the call ends with it
            call.fail(*failure(error, call.request_id))

    async def _answer_stream(self, messages: AsyncIterator[bytes], call: Call) -> None:
        """Answer each request as soon as it is ready."""
        closing = self._requests.readiness.closing
        await Stream(call, closing, partial(self._pending, call)).serve(messages)

    def _pending(self, call: Call, message: bytes, record: Record | None) -> Pending:
        try:
            asked, images = self._asked(message, call.request_id)
        except Exception as error:  # noqa: BLE001 - the response holds it
            return answered(self._failed(self._id_of(message), told(error, call, record)))
        hold = asked.model.hold()  # it may wait for others of the stream
        respond = partial(self._respond, asked, images, call, len(message), record, hold)
        return Pending(places(asked.classes), respond)

    async def _respond(
        self,
        asked: Asked,
        images: Sources,
        call: Call,
        nbytes: int,
        record: Record | None,
        hold: Hold,  # noqa: ARG002 - until the answer
    ) -> bytes:
        """Return the response in a stream, which may say why the request failed."""
        deadline = self._deadline(asked, call, time.monotonic())
        if record:
            record.asked(asked.model, len(images), asked.id, deadline)
        answering = asked.model.classify(images, deadline, nbytes, call.caller)
        del images  # they hold the message, and were copied out of it
        try:
            answers = await answering
            if record:
                record.answered(answers)
            if asked.classes > MANY_CLASSES:
                return await asyncio.to_thread(asked.streamed, answers)
            return asked.streamed(answers)
        except Exception as error:  # noqa: BLE001 - the response holds it
            return self._failed(asked.id, told(error, call, record))

    def _deadline(self, asked: Asked, call: Call, since_s: float) -> float:
        return self._requests.deadline(since_s, call.deadline_s, asked.timeout_us)
