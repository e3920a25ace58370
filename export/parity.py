"""Parity: every model file, in the runtimes that serve it, compared with the original."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
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
from serving.backends.runtimes import load, serving
from serving.backends.settings import Runtime, RuntimeSettings
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
    """A file with its tolerance, how close it came in each runtime, and its own answers.

    Only int8 and bf16 files have those.
    """

    file: ModelFile
    parities: list[FileParity]
    answers: FileAnswers | None = None

    def allowing(self, tolerance: float) -> "Proof":
        """Return the same with another tolerance."""
        update = {"tolerance": tolerance}
        parities = [parity.model_copy(update=update) for parity in self.parities]
        return Proof(self.file.model_copy(update=update), parities, self.answers)


def proving_runtimes(file: ModelFile, device: str) -> Sequence[Runtime | None]:
    """Return the runtimes to prove a file in; None is the usual one of its format.

    The kernels for int8 round so differently that one runtime says little about another: each that
    serves it and is installed has to pass. Raises `ExportError` if there is no such device.
    """
    if (file.format, file.precision) != ("onnx", "int8"):
        return [None]
    try:
        # Where there is none, opening it says what is missing.
        return serving(file, Device.parse(device)) or [None]
    except StartupError as error:
        raise ExportError(f"{file.title} cannot be proved on {device}: {error}") from error


def open_runner(
    root: Path,
    manifest: Manifest,
    file: ModelFile,
    device: str,
    lite_python: Path | None = None,
    runtime: Runtime | None = None,
) -> Runner:
    """Load a file of the bundle at `root` on a device of `serving.backends`, or in MindSpore.

    bf16 runs on the CPU, wherever the others do. `lite_python` is the interpreter that has
    mindspore_lite, None for this one; `runtime` is one of `proving_runtimes`.
    """
    if file.format == "mindir":
        return _open_mindir(root / file.path, max(file.buckets))
    try:
        place = Device.parse("cpu" if file.precision == "bf16" else device)
        settings = RuntimeSettings(threads=_cores(), lite_python=lite_python)
        [backend] = load(root, manifest, file, device=place, runtime=runtime, settings=settings)
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
    """Raise `PrecisionError` if bf16 or int8 costs more than `most` percentage points of top-1.

    int8 is made so that it does not in ONNX Runtime, but other runtimes run it, too; fp16 has a
    bound of its own (`tolerance`).
    """
    if parity.precision not in ("bf16", "int8") or parity.scores is None:
        return
    drop = 100 * (original.top1_correct - parity.scores.top1_correct) / images
    if drop > most:
        raise PrecisionError(
            f"{parity.title} in {parity.runtime} costs {drop:.2f} percentage points of top-1 "
            f"accuracy; --max-accuracy-drop allows {most:g}, so nothing was exported. Leave "
            f"{parity.precision} out of --precision"
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


class _Run(NamedTuple):
    """One runtime's answers to the images, compared, and to the golden ones."""

    runner: Runner
    parity: FileParity
    golden: Probabilities


def _prove(
    root: Path, manifest: Manifest, item: Converted, device: str, reference: Reference
) -> Proof:
    """Prove one file; its runtimes and weights are gone before the next one is loaded."""
    file = item.file
    runs = [
        _run(open_runner(root, manifest, file, device, runtime=runtime), file, reference)
        for runtime in proving_runtimes(file, device)
    ]
    proof = Proof(file, [run.parity for run in runs])
    if item.reduced:
        proof = _reduced(item, proof, runs, reference.golden.probabilities())
    allowed = min(proof.file.tolerance, TOLERANCES[file.precision])
    for run, parity in zip(runs, proof.parities, strict=True):
        require(parity)
        # Its own answers are the measure, so that what a reduced precision costs is none here.
        predict, pixels = run.runner.predict, reference.golden_pixels
        require_independence(file.title, predict, file.buckets, pixels, run.golden, allowed)
    return proof


def _run(runner: Runner, file: ModelFile, reference: Reference) -> _Run:
    images = reference.images
    logger.info("proving %s in %s on %d images", file.title, runner.runtime, len(images))
    batches = progress(images.batches(max(file.buckets)), len(images), file.title)
    actual = runner.answers(batches)
    parity = compare(file, runner, actual, reference.expected, images.labels)
    return _Run(runner, parity, runner.predict(reference.golden_pixels))


def _reduced(item: Converted, proof: Proof, runs: Sequence[_Run], golden: Probabilities) -> Proof:
    file = item.file
    largest = max(
        max(run.parity.largest_difference, float(np.abs(run.golden - golden).max())) for run in runs
    )
    proof = proof.allowing(tolerance(file.title, file.precision, largest))
    if file.precision == "fp16":
        # Real float16 arithmetic differs from this processor's as much as from float32, so what
        # the file answers here says nothing about other machines.
        return proof
    # Only ONNX Runtime's answers were asked for when the file was made.
    told = {"quantization": item.quantization}
    parities = [
        parity.model_copy(update=told) if parity.runtime == "onnxruntime" else parity
        for parity in proof.parities
    ]
    return Proof(proof.file, parities, _own_answers(file, runs, golden))


def _own_answers(file: ModelFile, runs: Sequence[_Run], golden: Probabilities) -> FileAnswers:
    """Return the mean of what the runtimes gave: no other answers are as close to all of them.

    Raises:
        PrecisionError: they are so far apart that one would not pass for the same file.
    """
    answers = np.mean([run.golden for run in runs], axis=0, dtype=np.float64)
    distance = float(np.abs(answers - golden).max())
    allowed = own_tolerance(file.precision, distance)
    apart = max(float(np.abs(run.golden - answers).max()) for run in runs)
    if apart > allowed:
        raise PrecisionError(
            f"{file.title}: {' and '.join(run.runner.runtime for run in runs)} answer the golden "
            f"images differently: a probability is {apart:.3g} from their mean, which is "
            f"{distance:.3g} from the original's and so allows {allowed:.3g}; nothing was "
            f"exported. Leave {file.precision} out of --precision"
        )
    return FileAnswers(
        format=file.format,
        precision=file.precision,
        tolerance=allowed,
        probabilities=answers.tolist(),
    )


def _cores() -> int:
    return usable_cores().usable
