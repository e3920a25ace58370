"""The models that are loaded, by name and version."""

from collections.abc import Mapping
from typing import Generic, Protocol

from typing_extensions import TypeVar

from bundle.versions import age
from serving.engine.model import Model
from serving.engine.rollout import CANARY, NO_LABELS, STABLE, Rollout, on_canary
from serving.engine.served import Served
from serving.errors import (
    InvalidRequestError,
    ModelNotFoundError,
    StartupError,
    UnavailableError,
)

# In a front end they are models of another process.
AnyModel = TypeVar("AnyModel", bound=Served, default=Model)


class Shelf(Generic[AnyModel]):
    """The loaded versions of one name, at least one, and their labels; it never changes.

    Attributes:
        name: the name.
        versions: the models by version, oldest first.
        rollout: the labels; one whose version is not here counts as if it did not exist.
        labelled: the models by label.
        usual: the stable one, else the newest; who names no version gets it, or the canary.
    """

    def __init__(self, models: Mapping[str, AnyModel], rollout: Rollout = NO_LABELS) -> None:
        self.versions = {version: models[version] for version in sorted(models, key=age)}
        newest = list(self.versions.values())[-1]
        self.name, self.rollout = newest.name, rollout
        self.labelled = {
            label: self.versions[version]
            for label, version in rollout.versions.items()
            if version in self.versions
        }
        self.usual = self.labelled.get(STABLE, newest)
        self._canary = self.labelled.get(CANARY) if rollout.canary_share else None

    def pick(self, version: str, request_id: str | None) -> AnyModel:
        """Return the version that a request names, or a label of it; see `ModelRepository.get`."""
        if not version:
            if self._canary is None or request_id is None:
                return self.usual
            is_chosen = on_canary(self.name, request_id, self.rollout.canary_share)
            return self._canary if is_chosen else self.usual
        if model := self.versions.get(version) or self.labelled.get(version):
            return model
        labels = ", ".join(f"{label} ({one.version})" for label, one in self.labelled.items())
        raise ModelNotFoundError(
            f"model {self.name!r} has no version {version!r}; "
            f"loaded: {', '.join(self.versions)}{labels and f'; labels: {labels}'}"
        )

    def labels(self, version: str) -> list[str]:
        """Return the labels of a version."""
        return [label for label, model in self.labelled.items() if model.version == version]


class Follower(Protocol):
    """Whoever tells another process which models there are."""

    def follow(self) -> None:
        """Tell it of a change."""

    async def caught_up(self) -> None:
        """Return when it knows all changes so far."""


class ModelRepository(Generic[AnyModel]):
    """Finds the model that a request asks for, by its name and version, or by a label.

    Models come and go on the event loop. Any thread may look for one: a shelf, and the mapping that
    holds them, are replaced as a whole, so whoever looks sees them before a change or after it.

    Attributes:
        followers: told after each change.
    """

    def __init__(self) -> None:
        self._shelves: Mapping[str, Shelf[AnyModel]] = {}
        self.followers: list[Follower] = []

    def add(self, model: AnyModel) -> None:
        """Add a model that answers; raise `StartupError` if its name and version are taken.

        From the same moment on it may be the newest.
        """
        versions = self._versions(model.name)
        if held := versions.get(model.version):
            raise StartupError(
                alike(held.bundle.path, model.bundle.path, model.name, model.version)
            )
        self._replace(model.name, {**versions, model.version: model})

    def remove(self, model: AnyModel) -> None:
        """Remove a model: no request finds it any more, but those that did may still use it."""
        others = {v: held for v, held in self._versions(model.name).items() if held is not model}
        self._replace(model.name, others)

    def __contains__(self, name: str) -> bool:
        """Whether a version of a model is loaded."""
        return name in self._shelves

    def all(self) -> list[AnyModel]:
        """Return every model, sorted by name, then version."""
        shelves = self._shelves
        return [model for name in sorted(shelves) for model in shelves[name].versions.values()]

    def ready(self) -> dict[str, bool]:
        """Return for each name whether a version of it answers."""
        return {
            name: any(model.ready for model in shelf.versions.values())
            for name, shelf in sorted(self._shelves.items())
        }

    def versions(self, name: str) -> list[str]:
        """Return the versions of a model that are loaded, oldest first."""
        return list(self._versions(name))

    def label(self, name: str, rollout: Rollout) -> None:
        """Give the versions of a loaded model these labels, and no others."""
        shelf = Shelf(self._shelves[name].versions, rollout)
        self.restock({**self._shelves, name: shelf})

    def restock(self, shelves: Mapping[str, Shelf[AnyModel]]) -> None:
        """Hold these models, each shelf under its name, and no others."""
        self._shelves = shelves
        for follower in self.followers:
            follower.follow()

    async def known_everywhere(self) -> None:
        """Return when whatever takes calls knows all changes so far."""
        for follower in self.followers:
            await follower.caught_up()

    def shelves(self) -> Mapping[str, Shelf[AnyModel]]:
        """Return the models that are loaded, by name."""
        return self._shelves

    def shelf(self, name: str) -> Shelf[AnyModel] | None:
        """Return the versions of a name that are loaded, with their labels; None without any."""
        return self._shelves.get(name)

    def labels(self, model: AnyModel) -> list[str]:
        """Return the labels of a model."""
        shelf = self._shelves.get(model.name)
        return shelf.labels(model.version) if shelf else []

    def is_idle(self) -> bool:
        """Whether no image is in flight."""
        models = (model for shelf in self._shelves.values() for model in shelf.versions.values())
        return all(model.is_idle for model in models)

    def get(self, name: str, version: str, request_id: str | None = None) -> AnyModel:
        """Return the model that a request asks for.

        Args:
            name: empty for the only one.
            version: a version or a label; empty for the one that is labelled stable, else the
                newest.
            request_id: without a version, this decides whether the canary answers. None if no
                images are to be answered: then it does not.

        Raises:
            UnavailableError: nothing is loaded now.
            ModelNotFoundError: there is no such name, version or label.
            InvalidRequestError: no name is given, and there are several.
        """
        return self._shelf(name).pick(version, request_id)

    def _versions(self, name: str) -> Mapping[str, AnyModel]:
        shelf = self._shelves.get(name)
        return shelf.versions if shelf else {}

    def _replace(self, name: str, versions: Mapping[str, AnyModel]) -> None:
        shelves = {other: shelf for other, shelf in self._shelves.items() if other != name}
        if versions:
            held = self._shelves.get(name)
            shelves[name] = Shelf(versions, held.rollout if held else NO_LABELS)
        self.restock(shelves)

    def _shelf(self, name: str) -> Shelf[AnyModel]:
        shelves = self._shelves  # once: another thread may replace it
        if name in shelves:
            return shelves[name]
        if not name and len(shelves) == 1:
            return next(iter(shelves.values()))
        if not shelves:
            raise UnavailableError(
                "no model is loaded; the server may be loading one: try again later"
            )
        loaded = ", ".join(sorted(shelves))
        if name:
            raise ModelNotFoundError(f"there is no model {name!r}; loaded: {loaded}")
        raise InvalidRequestError(f"several models are loaded, name one of them: {loaded}")


def alike(held: object, other: object, name: str, version: str) -> str:
    """Return what is wrong with two folders that hold the same version."""
    return (
        f"{held} and {other} are both {name}/{version}; "
        f"serve one of them, or export one under another version"
    )
