"""A finished bundle proved again, on any machine, as far as its files run there.

The rule for accuracy: on the recorded evaluation set, recognised by the fingerprint of its pixels
and classes, fp32 files give exactly the recorded counts. Files of a reduced precision, whose
kernels differ between processors, come within half a percent of the images.

The rule for differences: every file agrees with the first fp32 file as closely as it did with the
original when it was exported. But a largest difference is that of the images it was measured on:
among others a reduced precision may leave as many beyond it as chance does (`most_beyond`).
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bundle.golden import GoldenSet, prove_pixels, prove_probabilities
from bundle.keys import PublicKey
from bundle.manifest import Conversion, Manifest, ModelFile
from bundle.mates import prove_mates
from bundle.signature import open_signed
from bundle.store import Bundle, BundleError
from export.audit.exceedance import most_beyond
from export.errors import ExportError, VerificationError
from export.evaluation_set import (
    EvaluationSet,
    Fingerprint,
    Probabilities,
    open_images,
    progress,
)
from export.parity import PROVABLE, Runner, compare, open_runner, proving_runtimes
from export.parity_record import FileParity, Parity, check_record, read_parity
from images.transform import Pixels
from serving.backends.devices import Device
from serving.backends.hardware import missing
from serving.backends.settings import Runtime

REDUCED_PRECISION_SLACK = 0.005


class Place(NamedTuple):
    """Where files run: on a device of `serving.backends`, and in which Python (MindSpore Lite)."""

    device: str
    lite_python: Path | None


class Measured(NamedTuple):
    """How a file answers images: compared as at the export, and image by image.

    `differences` is the largest difference of a probability of each image, float64 (n,).
    """

    parity: FileParity
    differences: NDArray[np.float64]


class Remeasurement:
    """Runs one file after the other on the same images; an fp32 file should come first."""

    def __init__(self, images: EvaluationSet, record: Parity) -> None:
        self.images, self._record = images, record
        self._reference: tuple[ModelFile, Probabilities] | None = None
        self.is_recorded_set = False

    def measure(self, file: ModelFile, runner: Runner) -> Measured:
        """Return accuracy, and the difference from the reference, which the first fp32 file is.

        A file without a reference is compared with itself. Raises `ParityError`.
        """
        fingerprint, labels = Fingerprint(), self.images.labels
        batches = fingerprint.of(self.images.batches(max(file.buckets)))
        answers = runner.answers(progress(batches, len(self.images), file.title))
        self.is_recorded_set = fingerprint.hexdigest(labels) == self._record.images_sha256
        if self._reference is None and file.precision == "fp32":
            self._reference = file, answers
        expected = self._reference[1] if self._reference else answers
        parity = compare(file, runner, answers, expected, labels)
        return Measured(parity, np.abs(answers.astype(np.float64) - expected).max(axis=1))

    @property
    def reference(self) -> str | None:
        """Title of the file that the others are compared with."""
        return self._reference[0].title if self._reference else None

    def problems(self, measured: Measured) -> Iterator[str]:
        """Yield what does not hold."""
        parity = measured.parity
        recorded = self._record.of(parity.title, parity.place)
        allowed = self._allowed(parity, recorded)
        beyond, most = int((measured.differences > allowed).sum()), self._most(parity, recorded)
        if beyond > most:
            yield (
                f"{parity.title} in {parity.runtime}: a probability differs by "
                f"{parity.largest_difference:.3g} from that of the fp32 file; the bundle allows "
                f"{allowed:.3g}, which {beyond} of {len(self.images)} images are beyond, and at "
                f"most {most} may be"
            )
        if self.is_recorded_set and recorded is not None and recorded.scores is not None:
            yield from _other_counts(parity, recorded, self._record.images)

    def _most(self, measured: FileParity, recorded: FileParity | None) -> int:
        """Return how many images may be beyond what is allowed."""
        if self.is_recorded_set or measured.precision == "fp32":
            return 0
        known = recorded.tolerance_images if recorded else None
        return most_beyond(known or self._record.images, len(self.images))

    def _allowed(self, measured: FileParity, recorded: FileParity | None) -> float:
        reference = self._reference[0].tolerance if self._reference else 0.0
        return reference + max(measured.tolerance, recorded.largest_difference if recorded else 0.0)


@dataclass(frozen=True)
class FileResult:
    """The result for one file in one runtime; `skipped` says why there is none."""

    file: ModelFile
    skipped: str = ""
    runtime: str = ""
    golden_difference: float | None = None
    measured: Measured | None = None
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Verification:
    """The result for a bundle whose seal, manifest and golden pixels hold."""

    bundle: Bundle
    record: Parity
    golden_images: int
    accuracy: Remeasurement | None
    files: list[FileResult]
    key: PublicKey | None = None


def verify(
    path: Path,
    device: str,
    images: Path | None = None,
    lite_python: Path | None = None,
    public_keys: Sequence[Path] = (),
) -> Verification:
    """Prove every model file of the bundle at `path` that this machine can run.

    Args:
        path: the bundle's directory.
        device: where ONNX files run, as `serving.backends` names it.
        images: evaluation data to measure the accuracy on, too.
        lite_python: the interpreter that has mindspore_lite, if any.
        public_keys: files of the keys of which one must have signed the bundle, if any.

    Raises:
        BundleError: the bundle does not agree with itself, or not with this machine's decoder, or
            is not signed by any of the keys.
        KeyFileError: a file holds no public key.
        ExportError, TrainingError: the evaluation data does not fit, or is none.
    """
    bundle, key = _open(path, [PublicKey.read(file) for file in public_keys])
    record = read_parity(path)
    check_record(bundle, record)
    golden, pixels = prove_pixels(bundle)
    accuracy = Remeasurement(_open_images(bundle.manifest, images), record) if images else None
    ordered = sorted(bundle.manifest.files, key=lambda file: file.precision != "fp32")
    place = Place(device, lite_python)
    results = [
        _verify_file(bundle, file, place, runtime, (golden, pixels), accuracy)
        for file in ordered
        for runtime in proving_runtimes(file, device)
    ]
    return Verification(bundle, record, len(golden.images), accuracy, results, key)


def require(verification: Verification) -> None:
    """Raise a `VerificationError` that names everything that does not hold, if anything."""
    problems = [problem for result in verification.files for problem in result.problems]
    if all(result.skipped for result in verification.files):
        problems = ["nothing on this machine can run any file of the bundle"]
    if problems:
        raise VerificationError("; ".join(problems))


def _open(path: Path, keys: Sequence[PublicKey]) -> tuple[Bundle, PublicKey | None]:
    """Return the bundle and which of the keys signed it, None if there are no keys."""
    return open_signed(path, keys) if keys else (Bundle.open(path), None)


def _verify_file(
    bundle: Bundle,
    file: ModelFile,
    place: Place,
    runtime: Runtime | None,
    golden: tuple[GoldenSet, Pixels],
    accuracy: Remeasurement | None,
) -> FileResult:
    if reason := _cannot_run(file, place):
        return FileResult(file, skipped=reason)
    result = FileResult(file)
    try:
        runner = open_runner(bundle.path, bundle.manifest, file, *place, runtime)
        with closing(runner):
            result = replace(result, runtime=f"{runner.runtime} {runner.device}")
            proof = bundle, file, *golden, runner.predict, runner.runtime
            difference = prove_probabilities(*proof)
            prove_mates(*proof, file.buckets)
            result = replace(result, golden_difference=difference)
            if accuracy is None:
                return result
            measured = accuracy.measure(file, runner)
    except (BundleError, ExportError) as error:
        return replace(result, problems=[str(error)])
    return replace(result, measured=measured, problems=list(accuracy.problems(measured)))


def _open_images(manifest: Manifest, folder: Path) -> EvaluationSet:
    return open_images(folder, manifest.labels, manifest.transform, manifest.task)


def _cannot_run(file: ModelFile, place: Place) -> str:
    if file.format not in PROVABLE:
        return f"nothing here runs {file.format}"
    if file.format == "mindir" and find_spec("mindspore") is None:
        return "mindspore is not installed"
    if file.precision == "bf16":
        return missing("openvino", Device("cpu"), precision="bf16") or ""
    return _cannot_run_converted(file.conversion, place) if file.conversion else ""


def _cannot_run_converted(conversion: Conversion, place: Place) -> str:
    if conversion.device != place.device.partition(":")[0]:
        return f"it was converted for {conversion.device}"
    if place.lite_python is None:
        return "no interpreter with mindspore_lite is named (--lite-python)"
    return ""


def _other_counts(measured: FileParity, recorded: FileParity, images: int) -> Iterator[str]:
    slack = 0 if measured.precision == "fp32" else int(REDUCED_PRECISION_SLACK * images)
    assert measured.scores is not None
    assert recorded.scores is not None
    for name in ("top1_correct", "top5_correct"):
        counted, stated = getattr(measured.scores, name), getattr(recorded.scores, name)
        if abs(counted - stated) > slack:
            yield (
                f"{measured.title} in {measured.runtime}: {name} is {counted} of {images} images, "
                f"but {stated} was recorded; {measured.precision} may differ by {slack}"
            )
