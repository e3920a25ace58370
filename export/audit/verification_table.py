"""What `verify` tells on stdout."""

from rich.console import Console

from export.audit.verification import FileResult, Verification
from export.console import print_table

HEADINGS = ("file", "runtime", "golden", "allowed", "differs by", "top-1", "recorded", "result")


def show(verification: Verification) -> None:
    """Print what was proved, file by file."""
    console = Console(highlight=False, soft_wrap=True)
    bundle = verification.bundle
    console.print(f"bundle    {bundle.path}")
    console.print(f"digest    {bundle.digest}: seal and manifest hold")
    console.print(f"golden    {verification.golden_images} images: pixels equal")
    if accuracy := verification.accuracy:
        which = "the recorded set" if accuracy.is_recorded_set else (
            "not the recorded set, so its counts are not compared"
        )  # fmt: skip
        console.print(f"images    {len(accuracy.images)} ({accuracy.images.name}): {which}")
    print_table(
        console,
        HEADINGS,
        [(result.file.path, *_cells(result, verification)) for result in verification.files],
        left=("file", "runtime", "result"),
    )


def _cells(result: FileResult, verification: Verification) -> tuple[str, ...]:
    measured, recorded = result.measured, verification.record.scores(result.file.path)
    return (
        result.runtime or "-",
        _small(result.golden_difference),
        _small(result.file.tolerance),
        _difference(result, verification),
        str(measured.scores.top1_correct) if measured and measured.scores else "-",
        str(recorded.top1_correct) if recorded else "-",
        _verdict(result),
    )


def _difference(result: FileResult, verification: Verification) -> str:
    if result.measured is None or verification.accuracy is None:
        return "-"
    if result.file.path == verification.accuracy.reference:
        return "reference"
    return _small(result.measured.largest_difference)


def _verdict(result: FileResult) -> str:
    if result.skipped:
        return f"not verified here: {result.skipped}"
    return "does not hold" if result.problems else "holds"


def _small(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"
