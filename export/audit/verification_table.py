"""What `verify` tells on stdout."""

from rich.console import Console, JustifyMethod
from rich.table import Table

from export.audit.verification import FileResult, Verification
from export.parity import Parity

HEADINGS = ("file", "runtime", "golden", "allowed", "differs by", "top-1", "recorded", "result")
ON_THE_LEFT = frozenset({"file", "runtime", "result"})


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
    console.print(_table(verification))


def _table(verification: Verification) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in HEADINGS:
        justify: JustifyMethod = "left" if heading in ON_THE_LEFT else "right"
        table.add_column(heading, justify=justify, no_wrap=True)
    for result in verification.files:
        table.add_row(result.file.path, *_cells(result, verification.record))
    return table


def _cells(result: FileResult, record: Parity) -> tuple[str, ...]:
    measured = result.measured
    recorded = next((file.scores for file in record.files if file.path == result.file.path), None)
    return (
        result.runtime or "-",
        _small(result.golden_difference),
        _small(result.file.tolerance),
        _small(measured.largest_difference if measured else None),
        str(measured.scores.top1_correct) if measured and measured.scores else "-",
        str(recorded.top1_correct) if recorded else "-",
        _verdict(result),
    )


def _verdict(result: FileResult) -> str:
    if result.skipped:
        return f"not verified here: {result.skipped}"
    return "does not hold" if result.problems else "holds"


def _small(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"
