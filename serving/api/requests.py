"""What all requests share: the model they name, their deadline, and how they fail."""

import time

from protos import classifier_pb2 as pb
from serving.engine.job import Answer
from serving.engine.model import Model
from serving.engine.repository import ModelRepository
from serving.errors import InternalError, InvalidRequestError, ServingError


class Requests:
    """Finds the model and the deadline of a request.

    Args:
        repository: the loaded models.
        max_images: largest number of images in a request.
        default_timeout_s: time that a call without a deadline has, in seconds.
    """

    def __init__(
        self, repository: ModelRepository, max_images: int, default_timeout_s: float
    ) -> None:
        self.repository, self.max_images = repository, max_images
        self._default_timeout_s = default_timeout_s

    def model(self, request: pb.ClassifyRequest) -> Model:
        """Return the model that a request asks for.

        Raises:
            ModelNotFoundError, UnavailableError: there is none.
            InvalidRequestError: it holds no images, or too many.
        """
        model = self.repository.get(request.model, request.version)
        if not request.images:
            raise InvalidRequestError("the request holds no image; send at least one in `images`")
        if len(request.images) > self.max_images:
            raise InvalidRequestError(
                f"the request holds {len(request.images)} images; "
                f"this server takes at most {self.max_images} per request"
            )
        return model

    def deadline(self, remaining_s: float | None) -> float:
        """Return a deadline on the monotonic clock, given the time that the caller has left."""
        return time.monotonic() + (self._default_timeout_s if remaining_s is None else remaining_s)


def only_error(answers: list[Answer]) -> ServingError | None:
    """Return the error of a request's only image: the whole request fails with it."""
    [answer, *others] = answers
    return None if others or not isinstance(answer, ServingError) else answer


def to_serving_error(error: Exception) -> ServingError:
    """Return `error` if callers may see it; any other is logged, and they get its id."""
    return error if isinstance(error, ServingError) else InternalError.logged(error)
