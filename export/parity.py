"""The proof that a written file answers as the evaluated checkpoint does."""

import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    model_validator,
)

from export.contract.bundle import BundleError
from export.contract.golden import Predict
from export.contract.manifest import BundlePath, Format, Manifest, ModelFile, Precision, Sha256
from export.contract.transform import Pixels
from export.errors import ExportError, ParityError
from export.evaluation import Classes, Probabilities
from export.precision.report import Quantization
from export.scores import Scores
from serving import backends
from serving.errors import StartupError

PARITY = "parity.json"
# AIR runs in the Ascend toolchain alone, which has no interface that could be measured here.
PROVABLE = frozenset({"onnx", "mindir"})


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileParity(_Part):
    """One model file against the checkpoint, over all images of the report."""

    path: BundlePath
    format: Format
    precision: Precision
    runtime: str
    device: str
    tolerance: NonNegativeFloat = Field(description="largest allowed difference of a probability")
    largest_difference: NonNegativeFloat = Field(description="of a probability, over all of them")
    mean_difference: NonNegativeFloat = Field(description="of a probability, over all of them")
    top1_agreement: NonNegativeInt = Field(description="images with the checkpoint's first class")
    scores: Scores | None = Field(description="null where the true classes are unknown")
    quantization: Quantization | None = Field(None, description="of int8 files made here")


class Parity(_Part):
    """`parity.json`: the checkpoint as MindSpore runs it, and every file as its runtime does."""

    dataset: str = Field(description="what was compared on")
    images: PositiveInt
    images_sha256: Sha256 = Field(description="of their pixels after the transform, and classes")
    class_images: list[NonNegativeInt] | None = Field(
        description="images per class; null where the true classes are unknown"
    )
    checkpoint: Scores | None = Field(description="null where the true classes are unknown")
    files: list[FileParity]
    unproved: list[BundlePath] = Field(description="files that nothing on this machine can run")
    versions: dict[str, str] = Field(description="library versions that measured it")

    def scores(self, path: str) -> Scores | None:
        """Return what was recorded for a file, None where nothing was."""
        return next((file.scores for file in self.files if file.path == path), None)

    @model_validator(mode="after")
    def _adds_up(self) -> "Parity":
        if self.class_images is not None and sum(self.class_images) != self.images:
            raise ValueError(
                f"class_images adds up to {sum(self.class_images)}, not to images, {self.images}"
            )
        return self


def read_parity(root: Path) -> Parity:
    """Return the record of the bundle at `root`; raise `BundleError` where it is broken."""
    try:
        return Parity.model_validate_json((root / PARITY).read_bytes())
    except (OSError, ValidationError) as error:
        raise BundleError(f"{root / PARITY} is missing or broken: {error}") from error


class Runner(NamedTuple):
    """A model file in the runtime that proves it: the one that serves it, where there is one."""

    predict: Predict
    runtime: str
    device: str

    def answers(self, batches: Iterable[Pixels]) -> Probabilities:
        """Return float32 (n, classes) for batches of uint8 (height, width, 3) images."""
        return np.concatenate([self.predict(pixels) for pixels in batches])


def open_runner(root: Path, manifest: Manifest, file: ModelFile, device: str) -> Runner:
    """Load a file of the bundle at `root` on a device of `serving.backends`, or in MindSpore."""
    if file.format == "mindir":
        return _open_mindir(root / file.path, max(file.buckets))
    try:
        place = backends.Device.parse(device)
        [backend] = backends.load(root, manifest, file, device=place, threads=_cores())
    except StartupError as error:
        raise ExportError(f"{file.path} cannot be proved on {device}: {error}") from error
    predict = partial(backends.predict, backend, file.buckets)
    return Runner(predict, backend.describe().runtime, backend.describe().device)


def _open_mindir(path: Path, batch: int) -> Runner:
    from export.formats import mindir

    try:
        return Runner(mindir.runner(path, batch), "mindspore", mindir.device())
    except (RuntimeError, ValueError) as error:
        raise ExportError(f"{path}: MindSpore cannot load it: {error}") from error


def measure(
    file: ModelFile,
    runner: Runner,
    batches: Iterable[Pixels],
    expected: Probabilities,
    labels: Classes | None,
) -> FileParity:
    """Run the file on all images and compare with the checkpoint's probabilities.

    Args:
        file: what the manifest states of it.
        runner: the same file in its runtime.
        batches: uint8 (at most n, height, width, 3) each.
        expected: float32 (n, classes), as MindSpore gave them from the checkpoint.
        labels: the n true classes, if known.

    Raises:
        ParityError: the answers cannot be compared at all.
    """
    return compare(file, runner, runner.answers(batches), expected, labels)


def compare(
    file: ModelFile,
    runner: Runner,
    actual: Probabilities,
    expected: Probabilities,
    labels: Classes | None,
) -> FileParity:
    """Compare what the file answered with what was expected; see `measure`."""
    if actual.shape != expected.shape or not np.isfinite(actual).all():
        raise ParityError(
            f"{file.path}: gave probabilities {actual.shape}, some perhaps not finite; "
            f"the checkpoint gave {expected.shape}"
        )
    differences = np.abs(actual.astype(np.float64) - expected)
    return FileParity(
        path=file.path,
        format=file.format,
        precision=file.precision,
        runtime=runner.runtime,
        device=runner.device,
        tolerance=file.tolerance,
        largest_difference=float(differences.max()),
        mean_difference=float(differences.mean()),
        top1_agreement=int((actual.argmax(axis=1) == expected.argmax(axis=1)).sum()),
        scores=None if labels is None else Scores.of(actual, labels),
    )


def require(parity: FileParity) -> None:
    """Raise `ParityError` where the file differs by more than its tolerance."""
    if not parity.largest_difference <= parity.tolerance:
        raise ParityError(
            f"{parity.path} in {parity.runtime}: a probability differs by "
            f"{parity.largest_difference:.3g} from the checkpoint's; {parity.precision} allows "
            f"{parity.tolerance:.3g}, so nothing was exported"
        )


def _cores() -> int:
    return len(os.sched_getaffinity(0))
