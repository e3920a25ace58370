"""How close every file of a bundle came to the original: `parity.json`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
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
    title,
)
from bundle.store import Bundle, BundleError, read_record
from export.evaluation_set import Scores
from export.precision.cost import Quantization
from export.transform_kinds import ReducedDecoding

PARITY = "parity.json"


class FileParity(Frozen):
    """One model file in one runtime against the checkpoint, over all images of the report."""

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
    tolerance_images: PositiveInt | None = Field(
        None,
        exclude_if=lambda images: images is None,
        description="how many images a measured tolerance comes from: those of the report, the "
        "golden ones and, of int8, held-out training images",
    )
    largest_difference: NonNegativeFloat = Field(description="of a probability, over all of them")
    mean_difference: NonNegativeFloat = Field(description="of a probability, over all of them")
    rounded_difference: NonNegativeFloat | None = Field(
        None,
        exclude_if=lambda difference: difference is None,
        description="of fp16 files made here: the largest difference, the golden images' too, if "
        "every value is rounded to float16 as accelerators do; the tolerance follows from it",
    )
    top1_agreement: NonNegativeInt = Field(description="images with the checkpoint's first class")
    scores: Scores | None = Field(
        description="accuracy; null: not known, as the images have no true classes"
    )
    quantization: Quantization | None = Field(None, description="of int8 files made here")

    @property
    def title(self) -> str:
        """What the bundle calls the file."""
        return title(self.path, self.precision)

    @property
    def place(self) -> str:
        """Where it ran: runtime and device."""
        return f"{self.runtime} {self.device}"


class Parity(Frozen):
    """`parity.json`: the checkpoint as MindSpore runs it, and every file as its runtime does."""

    dataset: str = Field(description="what was compared on")
    images: PositiveInt
    images_sha256: Sha256 = Field(description="of their pixels after the transform, and classes")
    class_images: list[NonNegativeInt] | None = Field(
        description="images per class; null: not known, as the images have no true classes"
    )
    checkpoint: Scores | None = Field(
        description="accuracy of the original; null: not known, as the images have no true classes"
    )
    reduced_decoding: ReducedDecoding | None = Field(
        None,
        exclude_if=lambda cost: cost is None,
        description="what it costs, of a transform with reduced decoding and evaluation data",
    )
    files: list[FileParity] = Field(description="int8 once for every runtime that it was proved in")
    unproved: list[BundlePath] = Field(description="files that nothing on this machine can run")
    versions: dict[str, str] = Field(description="library versions it was measured with")

    def of(self, title: str, place: str) -> FileParity | None:
        """Return what was recorded for a file there, else in the first place; None if nothing."""
        recorded = [file for file in self.files if file.title == title]
        return next((file for file in recorded if file.place == place), next(iter(recorded), None))

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
    return read_record(Parity, root / PARITY)


def check_record(bundle: Bundle, parity: Parity) -> None:
    """Raise `BundleError` if the manifest and the parity record contradict each other."""
    if contradictions := list(_contradictions(bundle.manifest, parity)):
        raise BundleError(
            f"{bundle.path}: {MANIFEST} and {PARITY} disagree: {'; '.join(contradictions)}"
        )


def _contradictions(manifest: Manifest, parity: Parity) -> Iterator[str]:
    files = {file.title: file for file in manifest.files}
    recorded = {file.title for file in parity.files}
    if files.keys() != recorded | set(parity.unproved):
        yield f"files are {sorted(files)} and {sorted({*recorded, *parity.unproved})}"
    for file in sorted(parity.files, key=lambda file: file.title):
        for field in ("format", "precision", "tolerance"):
            stated = getattr(files.get(file.title, file), field)
            if stated != (measured := getattr(file, field)):
                yield f"{field} of {file.title} is {stated} and {measured}"
    if manifest.accuracy != parity.accuracy:
        yield f"accuracy is {manifest.accuracy} and {parity.accuracy}"
