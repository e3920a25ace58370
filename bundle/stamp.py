"""What a model file says of itself, so that it cannot be used with another manifest."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel

from bundle.manifest import Manifest, ModelFile, Normalization, Precision, Task
from bundle.store import BundleError
from images.transform import Transform

NAMESPACE = "bundle."
PRECISION, TASK = f"{NAMESPACE}precision", f"{NAMESPACE}task"
USUAL_TASK: Task = "multiclass"


class Described(Protocol):
    """What fixes the meaning of a model's bytes; a manifest does."""

    @property
    def labels(self) -> list[str]:
        """Class labels in index order."""

    @property
    def transform(self) -> Transform:
        """Encoded image -> pixels."""

    @property
    def normalization(self) -> Normalization:
        """Pixels -> what the network takes."""

    @property
    def task(self) -> Task:
        """Whether one class is right, or each by itself."""


def stamp(model: Described, precision: Precision) -> dict[str, str]:
    """Return the metadata of a file: the precision of its weights, and digests of what fits it."""
    # Of the usual task files say nothing, as did those that were written before there was another.
    unusual = {} if model.task == USUAL_TASK else {TASK: model.task}
    return unusual | {
        PRECISION: precision,
        f"{NAMESPACE}labels": _digest(model.labels),
        f"{NAMESPACE}transform": _digest(model.transform),
        f"{NAMESPACE}normalization": _digest(model.normalization),
    }


def check_stamp(path: Path, manifest: Manifest, file: ModelFile, found: Mapping[str, str]) -> None:
    """Compare the metadata that a runtime found in the file at `path` with the manifest.

    Raises:
        BundleError: the file was written in another precision, or under another manifest.
    """
    unsaid = {TASK: USUAL_TASK}
    stated, found = unsaid | stamp(manifest, file.stored_as), unsaid | dict(found)
    if missing := stated.keys() - found.keys():
        raise BundleError(
            f"{path}: its metadata lacks {', '.join(sorted(missing))}: "
            f"it is not a file that the export wrote"
        )
    if found[PRECISION] != file.stored_as:
        raise BundleError(
            f"{path}: the manifest states {file.stored_as}, but the file was written in "
            f"{found[PRECISION]}; files were exchanged"
        )
    for key in stated:
        if found[key] != stated[key]:
            raise BundleError(
                f"{path}: the manifest's {key.removeprefix(NAMESPACE)} is not the one that the "
                f"file was exported with; export the model again instead of editing its bundle"
            )


def _digest(value: list[str] | BaseModel) -> str:
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
