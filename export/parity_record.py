"""How close every file of a bundle came to the original: `parity.json`, and `parity.md` to read.

With the page goes a picture of the accuracy per class.
"""

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
PAGE, PICTURE = "parity.md", "parity.png"
# More names than this cannot be read under the axis.
NAMED_CLASSES = 40
MARKERS = "ox^+sd"
NOTES = {"original": "", "onnx": " (against the ONNX file)", "golden": " (golden images only)"}


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
    largest_difference: NonNegativeFloat = Field(description="of a probability, over all of them")
    mean_difference: NonNegativeFloat = Field(description="of a probability, over all of them")
    rounded_difference: NonNegativeFloat | None = Field(
        None,
        exclude_if=lambda difference: difference is None,
        description="of fp16 files made here: the largest difference, the golden images' too, if "
        "every value is rounded to float16 as accelerators do; the tolerance follows from it",
    )
    top1_agreement: NonNegativeInt = Field(description="images with the checkpoint's first class")
    scores: Scores | None = Field(description="null if the true classes are unknown")
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
        description="images per class; null if the true classes are unknown"
    )
    checkpoint: Scores | None = Field(description="null if the true classes are unknown")
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


def write_page(root: Path, parity: Parity, labels: list[str]) -> None:
    """Write the page into the bundle at `root`, and the picture if accuracy is known."""
    if parity.checkpoint and parity.class_images:
        _draw(root / PICTURE, parity, parity.checkpoint, parity.class_images, labels)
    write_table(root, parity)


def write_table(root: Path, parity: Parity) -> None:
    """Write the page only, beside an existing picture."""
    (root / PAGE).write_text("\n".join(_lines(parity)) + "\n")


def _lines(parity: Parity) -> Iterator[str]:
    yield "# Parity\n"
    yield f"Every file against the original, on {parity.images} images ({parity.dataset}).\n"
    yield (
        "| file | runtime | largest difference | allowed | mean difference | same top-1 "
        "| top-1 | top-5 | calibration error |"
    )
    yield "|---|---|--:|--:|--:|--:|--:|--:|--:|"
    yield f"| original | | | | | | {_scores(parity.checkpoint, parity.images)} |"
    yield from (_row(file, parity.images) for file in parity.files)
    yield from (
        f"| {path} | not proved: nothing here runs it | | | | | | | |" for path in parity.unproved
    )
    yield "\nDifferences are of probabilities, over all classes of all images."
    yield from (
        f"\n{file.title} rounded to float16 after every node, as accelerators do: largest "
        f"difference {file.rounded_difference:.2g}; what is allowed follows from that."
        for file in parity.files
        if file.rounded_difference is not None
    )
    if parity.reduced_decoding:
        told = parity.reduced_decoding.told(parity.checkpoint, parity.images)
        yield f"\n{told[0].upper()}{told[1:]}."
    if parity.checkpoint:
        yield f"\n![top-1 accuracy per class]({PICTURE})"
    yield f"\nMeasured with {', '.join(f'{name} {v}' for name, v in parity.versions.items())}."


def _row(file: FileParity, images: int) -> str:
    return (
        f"| {file.title}{NOTES[file.compared_with]} | {file.runtime}, {file.device} "
        f"| {file.largest_difference:.2g} | {file.tolerance:.2g} | {file.mean_difference:.2g} "
        f"| {file.top1_agreement} | {_scores(file.scores, images)} |"
    )


def _scores(scores: Scores | None, images: int) -> str:
    if scores is None:
        return "- | - | -"
    top1, top5 = scores.top1_correct, scores.top5_correct
    return (
        f"{top1} ({top1 / images:.2%}) | {top5} ({top5 / images:.2%}) "
        f"| {scores.calibration_error:.4f}"
    )


def _draw(
    path: Path, parity: Parity, original: Scores, images: list[int], labels: list[str]
) -> None:
    """Draw top-1 per class, classes in order of the original's accuracy."""
    from matplotlib.figure import Figure  # here, because the page needs none

    held = [index for index, count in enumerate(images) if count]
    order = sorted(held, key=lambda index: original.class_correct[index] / images[index])
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    axes.bar(range(len(order)), _percent(original, images, order), color="0.8", label="original")
    for number, file in enumerate(file for file in parity.files if file.scores):
        marker = MARKERS[number % len(MARKERS)]
        values = _percent(file.scores, images, order)
        axes.plot(values, marker, label=f"{file.title}, {file.runtime}", fillstyle="none")
    if len(order) <= NAMED_CLASSES:
        names = [labels[index] for index in order]
        axes.set_xticks(range(len(order)), names, rotation=45, ha="right")
    axes.set(ylabel="top-1 accuracy per class, %", xlabel=f"{len(order)} classes")
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=100)


def _percent(scores: Scores | None, images: list[int], order: list[int]) -> list[float]:
    assert scores is not None
    return [100 * scores.class_correct[index] / images[index] for index in order]
