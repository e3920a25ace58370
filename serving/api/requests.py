"""What all requests share, whatever their protocol: the models, the bounds, and the deadline."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from protos import classifier_pb2 as pb
from serving.api.messages import to_model
from serving.engine.job import Answer
from serving.engine.model import Model
from serving.engine.repository import ModelRepository
from serving.engine.served import Served
from serving.errors import ServingError
from serving.lifecycle import Readiness, State
from serving.repository.control import Control

AnyModel = TypeVar("AnyModel", covariant=True, bound=Served)


class Models(Protocol[AnyModel]):
    """Finds the model that a request asks for; see `ModelRepository`."""

    def __contains__(self, name: str) -> bool:
        """Whether a version of a model is loaded."""

    def get(self, name: str, version: str, request_id: str | None = None) -> AnyModel:
        """Return the model that a request asks for."""


@dataclass(frozen=True)
class ImageRequests:
    """What requests of images may ask for.

    Attributes:
        repository: the loaded models, of this process or of another.
        readiness: the server's state.
        max_images: largest number of images in a request.
        default_timeout_s: time that a request has which states none, in seconds.
    """

    repository: Models[Served]
    readiness: Readiness
    max_images: int
    default_timeout_s: float

    def deadline(
        self, since_s: float, deadline_s: float | None, timeout_us: int | None = None
    ) -> float:
        """Return when a request must be answered, on the monotonic clock: the earlier one rules.

        Args:
            since_s: when it came, on that clock.
            deadline_s: what its transport says, on that clock; None if nothing.
            timeout_us: what the request itself says, in microseconds; None if nothing.
        """
        if timeout_us is None:
            return since_s + self.default_timeout_s if deadline_s is None else deadline_s
        own_s = since_s + timeout_us / 1e6
        return own_s if deadline_s is None else min(own_s, deadline_s)


@dataclass(frozen=True)
class Requests(ImageRequests):
    """What all requests may ask for.

    Attributes:
        repository: the loaded models.
        control: loads and unloads them.
    """

    repository: ModelRepository
    control: Control

    def describe(self, model: Model) -> pb.Model:
        """Describe a model."""
        ready = self.readiness.state is State.SERVING and model.ready
        return to_model(model, self.repository.shelf(model.name), self.max_images, ready=ready)


def check_only(answers: Sequence[Answer]) -> None:
    """Raise the error of a request's only image: the whole request fails with it."""
    [answer, *others] = answers
    if not others and isinstance(answer, ServingError):
        # A new one: the traceback of `answer` would hold the answers, which hold `answer`.
        raise answer.of_image(0, images=1)
