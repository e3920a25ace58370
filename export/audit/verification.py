"""A finished bundle proved again, on any machine, as far as its files run there."""

from contextlib import closing
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from bundle.golden import GoldenSet, prove_pixels, prove_probabilities
from bundle.manifest import ModelFile
from bundle.store import Bundle, BundleError
from export.audit.accuracy import Remeasurement
from export.audit.record import check_record
from export.errors import ExportError, VerificationError
from export.evaluation.image_sets import open_images
from export.parity.compare import PROVABLE, open_runner
from export.parity.record import FileParity, Parity, read_parity
from images.transform import Pixels


class Place(NamedTuple):
    """Where files run: a device of `serving.backends`, the interpreter that has mindspore_lite."""

    device: str
    lite_python: Path | None


@dataclass(frozen=True)
class FileResult:
    """What came out for one file; `skipped` says why nothing did."""

    file: ModelFile
    skipped: str = ""
    runtime: str = ""
    golden_difference: float | None = None
    measured: FileParity | None = None
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Verification:
    """What came out for a bundle whose seal, manifest and golden pixels hold."""

    bundle: Bundle
    record: Parity
    golden_images: int
    accuracy: Remeasurement | None
    files: list[FileResult]


def verify(
    path: Path, device: str, images: Path | None = None, lite_python: Path | None = None
) -> Verification:
    """Prove every model file of the bundle at `path` that this machine can run.

    Args:
        path: the bundle's directory.
        device: where ONNX files run, as `serving.backends` names it.
        images: evaluation data to measure the accuracy on, too.
        lite_python: the interpreter that has mindspore_lite, if any.

    Raises:
        BundleError: the bundle does not agree with itself, or not with this machine's decoder.
        ExportError, TrainingError: the evaluation data does not fit, or is none.
    """
    bundle = Bundle.open(path)
    record = read_parity(path)
    check_record(bundle, record)
    golden, pixels = prove_pixels(bundle)
    labels, transform = bundle.manifest.labels, bundle.manifest.transform
    accuracy = Remeasurement(open_images(images, labels, transform), record) if images else None
    ordered = sorted(bundle.manifest.files, key=lambda file: file.precision != "fp32")
    place = Place(device, lite_python)
    results = [_verify_file(bundle, file, place, (golden, pixels), accuracy) for file in ordered]
    return Verification(bundle, record, len(golden.images), accuracy, results)


def require(verification: Verification) -> None:
    """Raise `VerificationError` that names all that does not hold."""
    problems = [problem for result in verification.files for problem in result.problems]
    if all(result.skipped for result in verification.files):
        problems = ["nothing on this machine can run any file of the bundle"]
    if problems:
        raise VerificationError("; ".join(problems))


def _verify_file(
    bundle: Bundle,
    file: ModelFile,
    place: Place,
    golden: tuple[GoldenSet, Pixels],
    accuracy: Remeasurement | None,
) -> FileResult:
    if reason := _cannot_run(file, place):
        return FileResult(file, skipped=reason)
    result = FileResult(file)
    try:
        runner = open_runner(bundle.path, bundle.manifest, file, *place)
        with closing(runner):
            result = replace(result, runtime=f"{runner.runtime} {runner.device}")
            difference = prove_probabilities(bundle, file, *golden, runner.predict)
            result = replace(result, golden_difference=difference)
            if accuracy is None:
                return result
            measured = accuracy.measure(file, runner)
    except (BundleError, ExportError) as error:
        return replace(result, problems=[str(error)])
    return replace(result, measured=measured, problems=list(accuracy.problems(measured)))


def _cannot_run(file: ModelFile, place: Place) -> str:
    if file.format not in PROVABLE:
        return f"nothing here runs {file.format}"
    if file.format == "mindir" and find_spec("mindspore") is None:
        return "mindspore is not installed"
    if file.conversion and file.conversion.device != place.device.partition(":")[0]:
        return f"it was converted for {file.conversion.device}"
    if file.conversion and place.lite_python is None:
        return "no interpreter with mindspore_lite is named (--lite-python)"
    return ""
