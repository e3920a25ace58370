"""What `parity.json` says, to read: `parity.md`, with a picture of the accuracy per class."""

from collections.abc import Iterator
from pathlib import Path

from export.audit.exceedance import told_beyond
from export.evaluation_set import Scores
from export.parity_record import FileParity, Parity

PAGE, PICTURE = "parity.md", "parity.png"
# More names than this cannot be read under the axis.
NAMED_CLASSES = 40
MARKERS = "ox^+sd"
NOTES = {"original": "", "onnx": " (against the ONNX file)", "golden": " (golden images only)"}


def write_page(root: Path, parity: Parity, labels: list[str]) -> None:
    """Write the page into the bundle at `root`, and the picture if accuracy is known."""
    if parity.checkpoint and parity.class_images:
        _draw(root / PICTURE, parity, parity.checkpoint, parity.class_images, labels)
    write_table(root, parity)


def write_table(root: Path, parity: Parity) -> None:
    """Write the page only, beside an existing picture."""
    (root / PAGE).write_text("\n".join(_lines(parity)) + "\n")


def _lines(parity: Parity) -> Iterator[str]:
    held_out = {file.title for file in parity.files if file.quantization}
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
    if not parity.checkpoint:
        yield (
            "\nAccuracy is not known: the images have no true classes. `same top-1` counts those "
            "with the original's first class."
        )
    measured = {file.title: file.tolerance_images for file in parity.files}
    yield from (
        f"\nWhat {title} is allowed was measured on {count} images: these, the golden ones"
        f"{' and training images that calibrated nothing' if title in held_out else ''}; "
        f"{told_beyond(count)}."
        for title, count in measured.items()
        if count
    )
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
        return "not known | not known | not known"
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
