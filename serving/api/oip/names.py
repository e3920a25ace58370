"""The two names that a model has in the protocol, which gives a name one kind of input."""

from typing import Generic, NamedTuple

from typing_extensions import TypeVar

from serving.api.fields import check_name
from serving.api.requests import Models
from serving.engine.model import Model
from serving.engine.repository import ModelRepository
from serving.engine.served import Served

# Asked for as `<name>_pixels`, a model takes pixels as its network sees them.
PIXELS = "_pixels"


AnyModel = TypeVar("AnyModel", covariant=True, bound=Served, default=Model)


class Named(NamedTuple, Generic[AnyModel]):
    """A model under one of its names.

    Attributes:
        name: the name.
        model: the model.
        takes_pixels: whether it takes pixels that are ready for the network, and nothing else.
    """

    name: str
    model: AnyModel
    takes_pixels: bool

    @property
    def input_name(self) -> str:
        """Name of its input."""
        return self.model.bundle.manifest.input.name

    @property
    def output_name(self) -> str:
        """Name of its output."""
        return self.model.bundle.manifest.output.name

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.model.bundle.manifest.labels)

    @property
    def pixels_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of what the network sees."""
        crop = self.model.bundle.manifest.transform.crop
        return crop.height, crop.width, 3


def find(
    repository: Models[AnyModel], name: str, version: str, request_id: str | None = None
) -> Named[AnyModel]:
    """Return the model of a name and version; see `ModelRepository.get`.

    A model that really has the name wins over one that takes pixels under it.

    Raises:
        UnavailableError: nothing is loaded yet.
        ModelNotFoundError: there is no such name or version.
        InvalidRequestError: no name is given, and there are several; or one is too long.
    """
    check_name("model", len(name.encode()))
    check_name("version", len(version.encode()))
    if name.endswith(PIXELS) and name not in repository:
        stem = name.removesuffix(PIXELS)
        if stem in repository:
            return Named(name, repository.get(stem, version, request_id), takes_pixels=True)
    model = repository.get(name, version, request_id)
    return Named(model.name, model, takes_pixels=False)


def both(repository: ModelRepository, model: Model) -> list[Named[Model]]:
    """Return a model under each name by which `find` finds it."""
    return [
        Named(name, model, takes_pixels=name != model.name)
        for name in names(repository, model.name)
    ]


def names(repository: ModelRepository, name: str) -> list[str]:
    """Return the names of the model that a bundle calls so, loaded or not."""
    return [name] if name + PIXELS in repository else [name, name + PIXELS]
