"""`parity.json`: how near every file of a bundle came to the original."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    model_validator,
)

from bundle.manifest import (
    MANIFEST,
    Accuracy,
    BundlePath,
    Format,
    Frozen,
    Manifest,
    Precision,
    Sha256,
)
from bundle.store import Bundle, BundleError
from export.evaluation.scores import Scores
from export.precision.cost import Quantization

PARITY = "parity.json"


class FileParity(Frozen):
    """One model file against the checkpoint, over all images of the report."""

    path: BundlePath
    format: Format
    precision: Precision
    runtime: str
    device: str
    compared_with: Literal["original", "onnx", "golden"] = Field(
        "original",
        description="the original's answers; those of the ONNX file it was converted from; or the "
        "original's to the golden images only",
    )
    tolerance: NonNegativeFloat = Field(description="largest allowed difference of a probability")
    largest_difference: NonNegativeFloat = Field(description="of a probability, over all of them")
    mean_difference: NonNegativeFloat = Field(description="of a probability, over all of them")
    top1_agreement: NonNegativeInt = Field(description="images with the checkpoint's first class")
    scores: Scores | None = Field(description="null if the true classes are unknown")
    quantization: Quantization | None = Field(None, description="of int8 files made here")


class Parity(Frozen):
    """`parity.json`: the checkpoint as MindSpore runs it, and every file as its runtime does."""

    dataset: str = Field(description="what was compared on")
    images: PositiveInt
    images_sha256: Sha256 = Field(description="of their pixels after the transform, and classes")
    class_images: list[NonNegativeInt] | None = Field(
        description="images per class; null if the true classes are unknown"
    )
    checkpoint: Scores | None = Field(description="null if the true classes are unknown")
    files: list[FileParity]
    unproved: list[BundlePath] = Field(description="files that nothing on this machine can run")
    versions: dict[str, str] = Field(description="library versions it was measured with")

    def scores(self, path: str) -> Scores | None:
        """Return what was recorded for a file, None if nothing was."""
        return next((file.scores for file in self.files if file.path == path), None)

    @property
    def accuracy(self) -> Accuracy | None:
        """What the manifest states of the original; None if the true classes are unknown."""
        return self.checkpoint.accuracy(self.dataset, self.images) if self.checkpoint else None

    @model_validator(mode="after")
    def _adds_up(self) -> "Parity":
        if self.class_images is not None and sum(self.class_images) != self.images:
            raise ValueError(
                f"class_images adds up to {sum(self.class_images)}, not to images, {self.images}"
            )
        return self


def read_parity(root: Path) -> Parity:
    """Return the record of the bundle at `root`; raise `BundleError` if it is broken."""
    try:
        return Parity.model_validate_json((root / PARITY).read_bytes())
    except (OSError, ValidationError) as error:
        raise BundleError(f"{root / PARITY} is missing or broken: {error}") from error


def check_record(bundle: Bundle, parity: Parity) -> None:
    """Raise `BundleError` if the manifest and the parity record contradict each other."""
    if contradictions := list(_contradictions(bundle.manifest, parity)):
        raise BundleError(
            f"{bundle.path}: {MANIFEST} and {PARITY} disagree: {'; '.join(contradictions)}"
        )


def _contradictions(manifest: Manifest, parity: Parity) -> Iterator[str]:
    files = {file.path: file for file in manifest.files}
    recorded = {file.path: file for file in parity.files}
    if files.keys() != recorded.keys() | set(parity.unproved):
        yield f"files are {sorted(files)} and {sorted({*recorded, *parity.unproved})}"
    for path in sorted(files.keys() & recorded.keys()):
        for field in ("format", "precision", "tolerance"):
            stated, measured = getattr(files[path], field), getattr(recorded[path], field)
            if stated != measured:
                yield f"{field} of {path} is {stated} and {measured}"
    if manifest.accuracy != parity.accuracy:
        yield f"accuracy is {manifest.accuracy} and {parity.accuracy}"
