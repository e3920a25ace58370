"""The models that are loaded, by name and version."""

from collections.abc import Mapping

from bundle.versions import age
from serving.engine.model import Model
from serving.errors import (
    InvalidRequestError,
    ModelNotFoundError,
    StartupError,
    UnavailableError,
)


class Shelf:
    """The loaded versions of one name, at least one; it never changes.

    Attributes:
        name: the name.
        versions: the models by version, oldest first.
        newest: the last of them.
    """

    def __init__(self, models: Mapping[str, Model]) -> None:
        self.versions = {version: models[version] for version in sorted(models, key=age)}
        self.newest = list(self.versions.values())[-1]
        self.name = self.newest.name

    def pick(self, version: str) -> Model:
        """Return a version; an empty one means the newest. Raise `ModelNotFoundError`."""
        if not version:
            return self.newest
        if version not in self.versions:
            raise ModelNotFoundError(
                f"model {self.name!r} has no version {version!r}; "
                f"loaded: {', '.join(self.versions)}"
            )
        return self.versions[version]


class ModelRepository:
    """Finds the model that a request names; the newest version if it names none.

    Models come and go on the event loop. Any thread may look for one: a shelf, and the mapping that
    holds them, are replaced as a whole, so whoever looks sees them before a change or after it.
    """

    def __init__(self) -> None:
        self._shelves: Mapping[str, Shelf] = {}

    def add(self, model: Model) -> None:
        """Add a model that answers; raise `StartupError` if its name and version are taken.

        From the same moment on it may be the newest.
        """
        versions = self._versions(model.name)
        if held := versions.get(model.version):
            raise StartupError(
                alike(held.bundle.path, model.bundle.path, model.name, model.version)
            )
        self._replace(model.name, {**versions, model.version: model})

    def remove(self, model: Model) -> None:
        """Remove a model: no request finds it any more, but those that did may still use it."""
        others = {v: held for v, held in self._versions(model.name).items() if held is not model}
        self._replace(model.name, others)

    def __contains__(self, name: str) -> bool:
        """Whether a version of a model is loaded."""
        return name in self._shelves

    def all(self) -> list[Model]:
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

    def get(self, name: str, version: str) -> Model:
        """Return a model; an empty name means the only one, an empty version the newest.

        Raises:
            UnavailableError: nothing is loaded now.
            ModelNotFoundError: there is no such name or version.
            InvalidRequestError: no name is given, and there are several.
        """
        return self._shelf(name).pick(version)

    def _versions(self, name: str) -> Mapping[str, Model]:
        shelf = self._shelves.get(name)
        return shelf.versions if shelf else {}

    def _replace(self, name: str, versions: Mapping[str, Model]) -> None:
        shelves = {other: shelf for other, shelf in self._shelves.items() if other != name}
        self._shelves = {**shelves, name: Shelf(versions)} if versions else shelves

    def _shelf(self, name: str) -> Shelf:
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
