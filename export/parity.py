"""Parity: every model file, in the runtime that serves it, compared with the original."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bundle.golden import FileAnswers, GoldenSet, Predict, own_tolerance
from bundle.manifest import Manifest, ModelFile
from cli.cores import usable_cores
from export.answers import require_independence
from export.errors import ExportError, ParityError, PrecisionError
from export.evaluation_set import Classes, ImageSet, Probabilities, Scores, progress
from export.original import TOLERANCES, Converted
from export.parity_record import FileParity
from export.precision.cost import tolerance
from images.transform import Pixels
from serving.backends.backend import predict
from serving.backends.devices import Device
from serving.backends.runtimes import load
from serving.backends.settings import RuntimeSettings
from serving.errors import StartupError

logger = logging.getLogger(__name__)

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
    """A file with its tolerance, how close it came, and what it answers itself (int8, bf16)."""

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

    bf16 runs on the CPU, wherever the others do. `lite_python` is the interpreter that has
    mindspore_lite, None for this one.
    """
    if file.format == "mindir":
        return _open_mindir(root / file.path, max(file.buckets))
    try:
        place = Device.parse("cpu" if file.precision == "bf16" else device)
        settings = RuntimeSettings(threads=_cores(), lite_python=lite_python)
        [backend] = load(root, manifest, file, device=place, settings=settings)
    except StartupError as error:
        raise ExportError(f"{file.title} cannot be proved on {device}: {error}") from error
    run = partial(predict, backend, file.buckets)
    return Runner(run, backend.describe().runtime, backend.describe().device, backend.close)


def _open_mindir(path: Path, batch: int) -> Runner:
    from export.formats import mindir

    try:
        return Runner(mindir.runner(path, batch), "mindspore", mindir.device())
    except (RuntimeError, ValueError) as error:
        raise ExportError(f"{path}: MindSpore cannot load it: {error}") from error


def compare(
    file: ModelFile,
    runner: Runner,
    actual: Probabilities,
    expected: Probabilities,
    labels: Classes | None,
) -> FileParity:
    """Compare what the file answered with what was expected.

    Args:
        file: what the manifest states of it.
        runner: the same file in its runtime.
        actual: float32 (n, classes), the runner's answers.
        expected: float32 (n, classes), the answers of the model that the file was made from.
        labels: the n true classes, if known.

    Raises:
        ParityError: the answers cannot be compared at all.
    """
    if actual.shape != expected.shape or not np.isfinite(actual).all():
        raise ParityError(
            f"{file.title}: gave probabilities {actual.shape}, some perhaps not finite; "
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
            f"{parity.title} in {parity.runtime}: a probability differs by "
            f"{parity.largest_difference:.3g} from the checkpoint's; {parity.precision} allows "
            f"{parity.tolerance:.3g}, so nothing was exported"
        )


def require_accuracy(parity: FileParity, original: Scores, images: int, most: float) -> None:
    """Raise `PrecisionError` if bf16 costs more than `most` percentage points of top-1.

    int8 is made so that it does not, and fp16 has a bound of its own (`tolerance`).
    """
    if parity.precision != "bf16" or parity.scores is None:
        return
    drop = 100 * (original.top1_correct - parity.scores.top1_correct) / images
    if drop > most:
        raise PrecisionError(
            f"{parity.title} costs {drop:.2f} percentage points of top-1 accuracy; "
            f"--max-accuracy-drop allows {most:g}, so nothing was exported. Leave bf16 out of "
            f"--precision"
        )


@dataclass(frozen=True)
class Reference:
    """What the original answered: to all of `images`, and to the golden ones."""

    images: ImageSet
    expected: Probabilities
    golden: GoldenSet
    golden_pixels: Pixels


def prove(
    root: Path, manifest: Manifest, written: Sequence[Converted], device: str, reference: Reference
) -> list[Proof]:
    """Measure every file that can be run here; reduced ones get the tolerance that they need.

    Raises:
        ParityError: a file does not answer as the original does.
        PrecisionError: a reduced one is further from it than its precision accounts for.
    """
    provable = [item for item in written if item.file.format in PROVABLE]
    return [_prove(root, manifest, item, device, reference) for item in provable]


def _prove(
    root: Path, manifest: Manifest, item: Converted, device: str, reference: Reference
) -> Proof:
    """Prove one file; its runtime and weights are gone before the next one is loaded."""
    file, images = item.file, reference.images
    logger.info("proving %s on %d images", file.title, len(images))
    runner = open_runner(root, manifest, file, device)
    batches = progress(images.batches(max(file.buckets)), len(images), file.title)
    actual = runner.answers(batches)
    proof = Proof(file, compare(file, runner, actual, reference.expected, images.labels))
    answers = runner.predict(reference.golden_pixels)
    if item.reduced:
        proof = _reduced(item, proof, answers, reference.golden.probabilities())
    require(proof.parity)
    # The file's own answers are the measure, so that what a reduced precision costs is none here.
    allowed = min(proof.file.tolerance, TOLERANCES[file.precision])
    require_independence(
        file.title, runner.predict, file.buckets, reference.golden_pixels, answers, allowed
    )
    return proof


def _reduced(item: Converted, proof: Proof, answers: Probabilities, golden: Probabilities) -> Proof:
    file, distance = item.file, float(np.abs(answers - golden).max())
    largest = max(proof.parity.largest_difference, distance)
    proof = proof.allowing(tolerance(file.title, file.precision, largest))
    if file.precision == "fp16":
        # Real float16 arithmetic differs from this processor's as much as from float32, so what
        # the file answers here says nothing about other machines.
        return proof
    own = FileAnswers(
        format=file.format,
        precision=file.precision,
        tolerance=own_tolerance(file.precision, distance),
        probabilities=answers.tolist(),
    )
    parity = proof.parity.model_copy(update={"quantization": item.quantization})
    return replace(proof, parity=parity, answers=own)


def _cores() -> int:
    return usable_cores().usable
