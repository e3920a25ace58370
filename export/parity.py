"""Parity: a model file, in a runtime that serves it, compared with the original."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bundle.golden import Predict
from bundle.manifest import Manifest, ModelFile
from cli.cores import usable_cores
from export.errors import ExportError, ParityError, PrecisionError
from export.evaluation_set import Classes, Probabilities, Scores
from export.parity_record import FileParity
from export.precision.cost import told_too_few
from images.transform import Pixels
from serving.backends.backend import predict
from serving.backends.devices import Device
from serving.backends.runtimes import load, serving
from serving.backends.settings import Runtime, RuntimeSettings
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


def require_accuracy(parity: FileParity, original: Scores | None, images: int, most: float) -> None:
    """Raise `PrecisionError` if bf16 or int8 costs more than `most` percentage points of top-1.

    Of images without classes, for which `original` is None, none counts whose first class is no
    longer the original's. int8 is made to cost no more in ONNX Runtime, but other runtimes run it,
    too; fp16 has a bound of its own (`tolerance`).
    """
    if parity.precision not in ("bf16", "int8"):
        return
    if original and parity.scores:
        drop = 100 * (original.top1_correct - parity.scores.top1_correct) / images
        cost = f"costs {drop:.2f} percentage points of top-1 accuracy"
    else:
        drop = 100 * (images - parity.top1_agreement) / images
        cost = f"changes the first class of {drop:.2f} % of the images, which have no true classes"
    if drop > most:
        raise PrecisionError(
            f"{parity.title} in {parity.runtime} {cost}; --max-accuracy-drop allows {most:g}, so "
            f"nothing was exported. Leave {parity.precision} out of --precision"
            f"{told_too_few(images, most, drop)}"
        )


def _cores() -> int:
    return usable_cores().usable
