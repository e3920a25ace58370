"""The methods of the GRPCInferenceService that take images."""

from collections.abc import AsyncIterator
from typing import NamedTuple

from protos import open_inference_pb2 as pb
from serving.api.call import Call
from serving.api.image_service import ImageService
from serving.api.oip.inputs import Images, images
from serving.api.oip.names import Named, find
from serving.api.oip.outputs import answer, check_outputs, classes_of
from serving.api.oip.tensors import InferRequest
from serving.api.oip.wire import id_of, parse, to_message
from serving.engine.job import Answer
from serving.engine.served import Served
from serving.errors import ServingError


class ImageInference(ImageService):
    """Answers the methods of `inference.GRPCInferenceService` that take images."""

    def ModelInfer(self, message: bytes, call: Call) -> None:  # noqa: N802
        """Classify the images of one request: admitted and answered on gRPC's thread."""
        self._answer(message, call)

    async def ModelStreamInfer(  # noqa: N802
        self, messages: AsyncIterator[bytes], call: Call
    ) -> None:
        """Answer each request as soon as it is ready."""
        await self._answer_stream(messages, call)

    def _asked(self, message: bytes, request_id: str) -> "tuple[_Asked, Images]":
        request = parse(message, self._requests.max_images)
        named = find(
            self._requests.repository, request.model, request.version, request.id or request_id
        )
        check_outputs(request, named)
        found = images(request, named, self._requests.max_images)
        request.inputs.clear()  # they hold the message, which may be large
        return _Asked(request, named, len(found)), found

    def _id_of(self, message: bytes) -> str:
        return id_of(message)

    def _failed(self, message_id: str, error: ServingError) -> bytes:
        return pb.ModelStreamInferResponse(
            error_message=str(error), infer_response={"id": message_id}
        ).SerializeToString()


class _Asked(NamedTuple):
    """A request without its inputs, the model that answers it, and how many images it has."""

    request: InferRequest
    named: Named[Served]
    images: int

    @property
    def id(self) -> str:
        """Its own id; empty without one."""
        return self.request.id

    @property
    def model(self) -> Served:
        """The model that answers it."""
        return self.named.model

    @property
    def timeout_us(self) -> int | None:
        """The time that the request itself states, in microseconds."""
        return self.request.timeout_us

    @property
    def classes(self) -> int:
        """How many classes the response names."""
        return classes_of(self.request, self.named, self.images)

    def response(self, answers: list[Answer]) -> pb.ModelInferResponse:
        """Return the response; raise the error of an image."""
        return to_message(answer(self.request, self.named, answers))

    def streamed(self, answers: list[Answer]) -> bytes:
        """Return the bytes of the response in a stream; raise the error of an image."""
        response = answer(self.request, self.named, answers)
        message = to_message(response, is_final=self.request.wants_final)
        return pb.ModelStreamInferResponse(infer_response=message).SerializeToString()
