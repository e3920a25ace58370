"""Golden images: what the evaluated checkpoint answered, recorded before any conversion."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from bundle.kinds import BundlePath, Format, Precision, Sha256, Tolerance
from bundle.manifest import Frozen, ModelFile, Normalization
from bundle.store import Bundle, BundleError, parse_record, read_record
from images.decoders import ImageError
from images.transform import Pixels, Transform

GOLDEN = "golden/golden.json"
# The tolerance of a file whose own answers were not recorded in the runtime that runs it: nothing
# else distinguishes int8 from another file, or bf16 from the same file in fp32.
LARGEST_UNRECORDED: dict[Precision, float] = {"int8": 0.02, "bf16": 0.0}
# How far from its own answers a file may be, as a part of their distance from the original's.
# It is for other processors, and not for other runtimes, which are as far apart in int8 as each is
# from the original: what int8 files answered is recorded in each. Of OpenVINO's kernels for int8
# those for AVX2 and for AVX-512 gave the same bits, those for SSE4.1 went further than half in 1
# of 1,000 sets of ten images. Other kernels for bf16 (the emulation for AVX-512 without it) took
# EfficientNet-Lite0 further than half in 3 of 100 sets of ten photos, further than three quarters
# in 1 of 1,250.
OWN_PART: dict[Precision, float] = {"fp32": 0.5, "bf16": 0.75, "fp16": 0.5, "int8": 0.5}
FLOAT32_NOISE = 1e-5

# A softmax of reduced precision may round beyond 1.
LARGEST_PROBABILITY = 1.01
Probability = Annotated[float, Field(ge=0, le=LARGEST_PROBABILITY, allow_inf_nan=False)]
Predict = Callable[[Pixels], NDArray[np.float32]]


class GoldenImage(Frozen):
    """One image file, the digest of its pixels after the transform, and its probabilities."""

    path: BundlePath
    pixels_sha256: Sha256
    probabilities: list[Probability] = Field(description="in label order, recorded by MindSpore")


class FileAnswers(Frozen):
    """What a file itself gave where it was exported, so that fp32 does not pass for it."""

    format: Format
    precision: Precision
    runtime: str | None = Field(
        None,
        exclude_if=lambda runtime: runtime is None,
        description="what it ran in; unset in older bundles, whose answers are the mean of all "
        "runtimes there were, and count for each",
    )
    tolerance: Tolerance = Field(
        description="largest allowed difference of a probability; other processors round otherwise"
    )
    probabilities: list[list[Probability]] = Field(description="per image, in label order")


class GoldenSet(Frozen):
    """The images, with the labels, transform and normalisation that they were recorded under."""

    labels: list[str]
    transform: Transform
    normalization: Normalization
    images: list[GoldenImage] = Field(min_length=1)
    files: list[FileAnswers] = Field(
        [], description="of int8 and bf16 files made by the export, for each runtime"
    )

    @model_validator(mode="after")
    def _one_probability_per_label(self) -> "GoldenSet":
        for image in self.images:
            if len(image.probabilities) != len(self.labels):
                raise ValueError(
                    f"{image.path} has {len(image.probabilities)} probabilities "
                    f"for {len(self.labels)} labels"
                )
        shape = (len(self.images), len(self.labels))
        for file in self.files:
            if np.shape(file.probabilities) != shape:
                raise ValueError(f"the {file.precision} answers are not {shape} probabilities")
        return self

    @model_validator(mode="after")
    def _tells_a_file_from_the_original(self) -> "GoldenSet":
        for file in self.files:
            distance = np.abs(np.array(file.probabilities) - self.probabilities()).max()
            largest = own_tolerance(file.precision, float(distance)) + FLOAT32_NOISE
            if file.tolerance > largest:
                raise ValueError(
                    f"the {file.precision} answers have a tolerance of {file.tolerance:g}; more "
                    f"than {largest:g} would let the original pass for that file"
                )
        return self

    def probabilities(self) -> NDArray[np.float32]:
        """Return the probabilities of the evaluated checkpoint, float32 (images, labels)."""
        return np.array([image.probabilities for image in self.images], np.float32)

    def first(self, images: int) -> "GoldenSet":
        """Return the set of the first so many images alone."""
        files = [
            file.model_copy(update={"probabilities": file.probabilities[:images]})
            for file in self.files
        ]
        return self.model_copy(update={"images": self.images[:images], "files": files})

    def answers(self, file: ModelFile, runtime: str) -> FileAnswers | None:
        """Return what that file itself gave in a runtime, if it was recorded."""
        ran = (own for own in self._of(file) if own.runtime in (None, runtime))
        return next(ran, None)

    def runtimes(self, file: ModelFile) -> list[str]:
        """Return the runtimes that the answers of that file were recorded in."""
        return [own.runtime for own in self._of(file) if own.runtime]

    def _of(self, file: ModelFile) -> list[FileAnswers]:
        kind = (file.format, file.precision)
        return [own for own in self.files if (own.format, own.precision) == kind]


def own_tolerance(precision: Precision, distance: float) -> float:
    """Return the allowed difference from a file's own answers, `distance` from the original's.

    Less than that: the original never passes for the file, and the file itself still does with
    other kernels.
    """
    return max(distance * OWN_PART[precision], FLOAT32_NOISE)


def pixels_digest(pixels: Pixels) -> str:
    """Return the sha256 of uint8 pixels (height, width, 3) in row order."""
    return hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()


def read_golden(root: Path) -> GoldenSet:
    """Return the golden set of the bundle at `root`; raise `BundleError` if it is broken."""
    return read_record(GoldenSet, root / GOLDEN)


def sealed_golden(bundle: Bundle) -> GoldenSet:
    """Return the golden set that was there when the bundle was opened; raise `BundleError`."""
    return parse_record(GoldenSet, bundle.path / GOLDEN, bundle.read(GOLDEN))


def prove_pixels(bundle: Bundle, most: int | None = None) -> tuple[GoldenSet, Pixels]:
    """Return the golden set and its pixels (n, height, width, 3), exactly as they were recorded.

    Args:
        bundle: the bundle under proof.
        most: take only the first so many images; None for all.

    Raises:
        BundleError: the manifest was changed after recording, or this machine decodes differently.
    """
    golden = sealed_golden(bundle)
    if most is not None:
        golden = golden.first(most)
    for field in ("labels", "transform", "normalization"):
        if getattr(golden, field) != getattr(bundle.manifest, field):
            raise BundleError(
                f"{bundle.path}: the manifest's {field} is not the one that the golden images "
                f"were recorded with; export the model again instead of editing its bundle"
            )
    pixels = [_proven(bundle, image) for image in golden.images]
    return golden, np.stack(pixels)


def prove_probabilities(
    bundle: Bundle,
    file: ModelFile,
    golden: GoldenSet,
    pixels: Pixels,
    predict: Predict,
    runtime: str,
) -> float:
    """Return the largest difference between predicted and golden probabilities.

    Args:
        bundle: the bundle under proof.
        file: the model file that `predict` runs.
        golden: as `prove_pixels` gave it.
        pixels: as `prove_pixels` gave them, uint8 (n, height, width, 3).
        predict: uint8 (n, height, width, 3) -> float32 (n, classes).
        runtime: what `predict` runs the file in, by the name that backends report.

    Raises:
        BundleError: the difference exceeds the file's tolerance, or the answers are not those that
            this very file gave in this runtime when it was exported.
    """
    expected = golden.probabilities()
    actual = predict(pixels)
    if actual.shape != expected.shape or not np.isfinite(actual).all():
        raise BundleError(
            f"{bundle.path / file.title}: gave probabilities {actual.shape} instead of "
            f"{expected.shape}, or some that are not finite"
        )
    difference, image = _largest(actual - expected, golden)
    if not difference <= file.tolerance:
        raise BundleError(
            f"{bundle.path / file.title}: probabilities of golden image {image} differ by "
            f"{difference:.3g} from those of the evaluated checkpoint; the bundle allows "
            f"{file.tolerance:.3g}"
        )
    if own := golden.answers(file, runtime):
        _prove_own(bundle.path / file.title, own, golden, actual)
    elif file.tolerance > (largest := LARGEST_UNRECORDED.get(file.precision, file.tolerance)):
        recorded = " and ".join(golden.runtimes(file))
        elsewhere = f": run it in {recorded}, or export it where {runtime} is installed, too"
        raise BundleError(
            f"{bundle.path / file.title}: the tolerance is {file.tolerance:g}; {file.precision} "
            f"whose own golden probabilities are not recorded in {runtime} may have {largest:g}"
            f"{elsewhere if recorded else ''}"
        )
    return difference


def _prove_own(
    path: Path, own: FileAnswers, golden: GoldenSet, actual: NDArray[np.float32]
) -> None:
    recorded = np.array(own.probabilities, np.float32)
    difference, image = _largest(actual - recorded, golden)
    if not difference <= own.tolerance:
        raise BundleError(
            f"{path}: probabilities of golden image {image} differ by {difference:.3g} from what "
            f"the {own.precision} file itself gave when it was exported; the bundle allows "
            f"{own.tolerance:.3g}: this is another file, or this runtime computes "
            f"{own.precision} differently"
        )


def _largest(differences: NDArray[np.float32], golden: GoldenSet) -> tuple[float, str]:
    """Return the largest of (n, classes) differences, and the image that it belongs to."""
    worst = np.abs(differences).max(axis=1)
    return float(worst.max()), golden.images[int(worst.argmax())].path


def _proven(bundle: Bundle, image: GoldenImage) -> Pixels:
    path = bundle.path / image.path
    try:
        pixels = bundle.manifest.transform.decode(bundle.read(image.path))
    except ImageError as error:
        raise BundleError(f"{path}: golden image cannot be read: {error}") from error
    if pixels_digest(pixels) != image.pixels_sha256:
        raise BundleError(
            f"{path}: this machine's decoder and resizer do not give the recorded pixels; the "
            f"model would not be the one that was evaluated"
        )
    return pixels
