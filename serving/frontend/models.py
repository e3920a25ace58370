"""What a front end is told of the models: new ones, and which are loaded, with their labels."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from bundle.manifest import Manifest
from bundle.store import Bundle
from serving.engine.model import Model
from serving.engine.repository import Shelf
from serving.engine.rollout import Rollout
from serving.frontend.messages import tell


class NewModel(NamedTuple):
    """A model that a front end has not heard of; with it comes the descriptor of its slots.

    Attributes:
        number: its name between the processes.
        path, digest: of its bundle.
        manifest: the bundle's, in JSON.
        slots: how many there are.
    """

    number: int
    path: str
    digest: str
    manifest: str
    slots: int

    @classmethod
    def of(cls, number: int, model: Model, slots: int) -> "NewModel":
        """Describe a model."""
        bundle = model.bundle
        manifest = bundle.manifest.model_dump_json()
        return cls(number, str(bundle.path), bundle.digest, manifest, slots)

    def bundle(self) -> Bundle:
        """Return its bundle, which the engine has proved; no file of it may be read through it."""
        manifest = Manifest.model_validate_json(self.manifest)
        return Bundle(Path(self.path), manifest, self.digest, {})


class ShelfTold(NamedTuple):
    """The loaded versions of one name, by their numbers, and the labels."""

    versions: list[int]
    labels: dict[str, str]
    canary_share: float

    def rollout(self) -> Rollout:
        """Return the labels."""
        return Rollout(self.labels, self.canary_share)


def tell_models(
    new: list[NewModel], shelves: Mapping[str, Shelf], numbers: Mapping[Model, int]
) -> bytes:
    """Return the message that says which models are loaded."""
    told = [
        ShelfTold(
            [numbers[model] for model in shelf.versions.values()],
            dict(shelf.rollout.versions),
            shelf.rollout.canary_share,
        )
        for shelf in shelves.values()
    ]
    return tell(op="models", new=new, shelves=told)
