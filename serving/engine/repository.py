"""The models that are loaded, by name and version."""

import re

from serving.engine.model import Model
from serving.errors import (
    InvalidRequestError,
    ModelNotFoundError,
    StartupError,
    UnavailableError,
)


class ModelRepository:
    """Finds the model that a request names; the newest version if it names none."""

    def __init__(self) -> None:
        self._models: dict[str, dict[str, Model]] = {}
        self._newest: dict[str, Model] = {}

    def add(self, model: Model) -> None:
        """Add a model that answers; raise `StartupError` if its name and version are taken."""
        versions = self._models.setdefault(model.name, {})
        if held := versions.get(model.version):
            raise StartupError(
                f"{held.bundle.path} and {model.bundle.path} are both {model.name}/{model.version};"
                f" serve one of them, or export one under another version"
            )
        versions[model.version] = model
        self._newest[model.name] = versions[max(versions, key=_age)]

    def __contains__(self, name: str) -> bool:
        """Whether a version of a model is loaded."""
        return name in self._models

    def all(self) -> list[Model]:
        """Return every model, sorted by name, then version."""
        versions = (self._models[name] for name in sorted(self._models))
        return [held[version] for held in versions for version in sorted(held, key=_age)]

    def ready(self) -> dict[str, bool]:
        """Return for each name whether a version of it answers."""
        return {
            name: any(model.ready for model in versions.values())
            for name, versions in sorted(self._models.items())
        }

    def versions(self, name: str) -> list[str]:
        """Return the versions of a model that are loaded, oldest first."""
        return sorted(self._models.get(name, ()), key=_age)

    def get(self, name: str, version: str) -> Model:
        """Return a model; an empty name means the only one, an empty version the newest.

        Raises:
            UnavailableError: nothing is loaded yet.
            ModelNotFoundError: there is no such name or version.
            InvalidRequestError: no name is given, and there are several.
        """
        newest = self._newest[self._name(name)]
        if not version:
            return newest
        versions = self._models[newest.name]
        if version not in versions:
            raise ModelNotFoundError(
                f"model {newest.name!r} has no version {version!r}; "
                f"loaded: {', '.join(self.versions(newest.name))}"
            )
        return versions[version]

    def _name(self, name: str) -> str:
        if name in self._models:
            return name
        if not name and len(self._models) == 1:
            return next(iter(self._models))
        if not self._models:
            raise UnavailableError("the server is loading its models; try again later")
        loaded = ", ".join(sorted(self._models))
        if name:
            raise ModelNotFoundError(f"there is no model {name!r}; loaded: {loaded}")
        raise InvalidRequestError(f"several models are loaded, name one of them: {loaded}")


def _age(version: str) -> list[tuple[int, str]]:
    """Sort 10 after 9, and 1.10 after 1.9: digits by their number, the rest as text."""
    return [
        (int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", version)
    ]
