"""A model file in its runtime, compared with the evaluated checkpoint."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bundle.golden import FileAnswers, Predict
from bundle.manifest import Manifest, ModelFile
from export.errors import ExportError, ParityError
from export.evaluation.image_sets import Classes, Probabilities
from export.evaluation.scores import Scores
from export.parity.record import FileParity
from images.transform import Pixels
from serving.backends.backend import predict
from serving.backends.devices import Device
from serving.backends.runtimes import load
from serving.backends.settings import RuntimeSettings
from serving.errors import StartupError

# AIR runs only in the Ascend toolchain, which has no interface that could be measured here.
PROVABLE = frozenset({"onnx", "mindir", "mindir-lite"})


class Runner(NamedTuple):
    """A model file in the runtime that proves it: the one that serves it, if there is one."""

    predict: Predict
    runtime: str
    device: str
    close: Callable[[], None] = lambda: None

    def answers(self, batches: Iterable[Pixels]) -> Probabilities:
        """Return float32 (n, classes) for batches of uint8 (height, width, 3) images."""
        return np.concatenate([self.predict(pixels) for pixels in batches])


@dataclass(frozen=True)
class Proof:
    """A file with its tolerance, how near it came, and what it answers itself (int8 only)."""

    file: ModelFile
    parity: FileParity
    answers: FileAnswers | None = None

    def allowing(self, tolerance: float) -> "Proof":
        """Return the same with another tolerance."""
        update = {"tolerance": tolerance}
        file, parity = self.file.model_copy(update=update), self.parity.model_copy(update=update)
        return Proof(file, parity, self.answers)


def open_runner(
    root: Path, manifest: Manifest, file: ModelFile, device: str, lite_python: Path | None = None
) -> Runner:
    """Load a file of the bundle at `root` on a device of `serving.backends`, or in MindSpore.

    `lite_python` is the interpreter that has mindspore_lite, None for this one.
    """
    if file.format == "mindir":
        return _open_mindir(root / file.path, max(file.buckets))
    try:
        place = Device.parse(device)
        settings = RuntimeSettings(threads=_cores(), lite_python=lite_python)
        [backend] = load(root, manifest, file, device=place, settings=settings)
    except StartupError as error:
        raise ExportError(f"{file.path} cannot be proved on {device}: {error}") from error
    run = partial(predict, backend, file.buckets)
    return Runner(run, backend.describe().runtime, backend.describe().device, backend.close)


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
    """Raise `ParityError` if the file differs by more than its tolerance."""
    if not parity.largest_difference <= parity.tolerance:
        raise ParityError(
            f"{parity.path} in {parity.runtime}: a probability differs by "
            f"{parity.largest_difference:.3g} from the checkpoint's; {parity.precision} allows "
            f"{parity.tolerance:.3g}, so nothing was exported"
        )


def _cores() -> int:
    return len(os.sched_getaffinity(0))
