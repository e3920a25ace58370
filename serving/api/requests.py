"""What all requests share: the model they name, their deadline, and how they fail."""

from collections.abc import Sequence

from serving.api import wire
from serving.api.call import Call
from serving.api.wire import Request
from serving.engine.job import Answer
from serving.engine.model import Model
from serving.engine.repository import ModelRepository
from serving.errors import InvalidRequestError, ServingError


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

    def parse(self, message: bytes) -> Request:
        """Return the request in a message; InvalidRequestError if it is none, or too much."""
        return wire.parse(message, self.max_images)

    def model(self, request: Request) -> Model:
        """Return the model that a request asks for.

        Raises:
            ModelNotFoundError, UnavailableError: there is none.
            InvalidRequestError: it holds no images.
        """
        model = self.repository.get(request.options.model, request.options.version)
        if not request:
            raise InvalidRequestError("the request holds no image; send at least one in `images`")
        return model

    def deadline(self, call: Call, since_s: float) -> float:
        """Return when a request must be answered that came at `since_s`, both monotonic."""
        return since_s + self._default_timeout_s if call.deadline_s is None else call.deadline_s


def check_only(answers: Sequence[Answer]) -> None:
    """Raise the error of a request's only image: the whole request fails with it."""
    [answer, *others] = answers
    if not others and isinstance(answer, ServingError):
        # A new one: the traceback of `answer` would hold the answers, which hold `answer`.
        raise answer.of_image(0, images=1)
