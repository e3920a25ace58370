"""What the ways of asking have in common: whom they ask, until when, and how answers are told."""

import asyncio
import time

from protos import classifier_pb2 as pb
from serving.api.call import Call
from serving.api.messages import check_count, to_response
from serving.engine.job import Answer
from serving.engine.model import Model
from serving.engine.repository import ModelRepository
from serving.errors import InternalError, ServingError

# A response of more classes is built in a thread of its own: each takes some microseconds.
MANY_CLASSES = 2000


class Requests:
    """Reads requests and writes responses.

    Args:
        repository: the loaded models.
        max_images: largest number of images of a request.
        default_timeout_s: the deadline of a call that has none, in seconds.
    """

    def __init__(
        self, repository: ModelRepository, max_images: int, default_timeout_s: float
    ) -> None:
        self.repository, self.max_images = repository, max_images
        self._default_timeout_s = default_timeout_s

    def model(self, request: pb.ClassifyRequest) -> Model:
        """Return the model that is asked; raise where there is none, or the images are too many."""
        model = self.repository.get(request.model, request.version)
        check_count(request, self.max_images)
        return model

    def check(self, call: Call) -> None:
        """Raise where no request that `call` may bring could be answered.

        Which model it asks is in the request: nothing is known where there are several.
        """
        if model := self.repository.only:
            model.check(self.deadline(call))

    def deadline(self, call: Call) -> float:
        """Return when a call must be answered, on the monotonic clock."""
        remaining = call.time_remaining()
        return time.monotonic() + (self._default_timeout_s if remaining is None else remaining)


def is_large(request: pb.ClassifyRequest, model: Model) -> bool:
    """Whether the response is to be built in a thread of its own."""
    classes = request.top_k or len(model.bundle.manifest.labels)
    return len(request.images) * classes > MANY_CLASSES


def only_error(answers: list[Answer]) -> ServingError | None:
    """Return the error of a single image: it is that of the request."""
    [answer, *others] = answers
    return None if others or not isinstance(answer, ServingError) else answer


async def response_aside(
    request: pb.ClassifyRequest, model: Model, answers: list[Answer]
) -> pb.ClassifyResponse:
    """Return the response, built in a thread where it takes long."""
    if is_large(request, model):
        return await asyncio.to_thread(to_response, request, model, answers)
    return to_response(request, model, answers)


def known(error: Exception) -> ServingError:
    """Return an error as one that callers are told; others are logged."""
    return error if isinstance(error, ServingError) else InternalError.logged(error)
