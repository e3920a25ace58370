"""The methods of the Classifier that take images."""

from collections.abc import AsyncIterator
from typing import NamedTuple

from protos import classifier_pb2 as pb
from serving.api.call import Call
from serving.api.image_service import ImageService
from serving.api.messages import classes_of, to_response
from serving.api.requests import check_only
from serving.api.status import to_status
from serving.api.wire import Request, id_of, parse
from serving.engine.job import Answer
from serving.engine.served import Served
from serving.errors import InvalidRequestError, ServingError


class ImageClassifier(ImageService):
    """Answers the methods of `resnext.serving.v1.Classifier` that take images."""

    def Classify(self, message: bytes, call: Call) -> None:  # noqa: N802
        """Classify the images of one request: admitted and answered on gRPC's thread."""
        self._answer(message, call)

    async def ClassifyStream(  # noqa: N802
        self, messages: AsyncIterator[bytes], call: Call
    ) -> None:
        """Answer each request as soon as it is ready."""
        await self._answer_stream(messages, call)

    def _asked(self, message: bytes, request_id: str) -> "tuple[_Asked, Request]":
        request = parse(message, self._requests.max_images)
        options = request.options
        model = self._requests.repository.get(
            options.model, options.version, options.id or request_id
        )
        if not request:
            raise InvalidRequestError("the request holds no image; send at least one in `images`")
        return _Asked(options, model, len(request)), request

    def _id_of(self, message: bytes) -> str:
        return id_of(message, self._requests.max_images)

    def _failed(self, message_id: str, error: ServingError) -> bytes:
        return pb.ClassifyResponse(id=message_id, status=to_status(error)).SerializeToString()


class _Asked(NamedTuple):
    """A request without its images, the model that answers it, and how many images it has."""

    options: pb.ClassifyRequest
    model: Served
    images: int

    @property
    def id(self) -> str:
        """Its own id; empty without one."""
        return self.options.id

    @property
    def timeout_us(self) -> None:
        """None: the call alone has a deadline."""

    @property
    def classes(self) -> int:
        """How many classes the response names."""
        return classes_of(self.options, self.images, self.model)

    def response(self, answers: list[Answer]) -> pb.ClassifyResponse:
        """Return the response; raise the error of an only image."""
        check_only(answers)
        return to_response(self.options, self.model, answers)

    def streamed(self, answers: list[Answer]) -> bytes:
        """Return the bytes of the response in a stream; raise the error of an only image."""
        return self.response(answers).SerializeToString()
