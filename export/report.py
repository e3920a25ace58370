"""What an export tells on stdout when it is done."""

from collections.abc import Iterator

from rich.console import Console

from export.console import print_table
from export.parity.record import FileParity
from export.pipeline import Exported

HEADINGS = ("file", "runtime", "differs by", "allowed", "same top-1", "top-1")


def show(exported: Exported) -> None:
    """Print where the bundle is, how accurate it is, how near its files come, how to serve it."""
    console = Console(highlight=False, soft_wrap=True)
    bundle, parity = exported.bundle, exported.parity
    console.print(f"bundle    {bundle.path}")
    console.print(f"digest    {bundle.digest}")
    if accuracy := bundle.manifest.accuracy:
        console.print(
            f"accuracy  top-1 {accuracy.top1:.2%}, "
            f"top-5 {accuracy.top5_correct / accuracy.images:.2%} "
            f"of {accuracy.images} images ({accuracy.dataset})"
        )
    title = f"against the original, {parity.images} images"
    print_table(console, HEADINGS, _rows(parity.files), left=("file", "runtime"), title=title)
    for path in parity.unproved:
        console.print(f"not proved: {path}; nothing on this machine can run it")
    console.print(f"serve it: make serve MODEL={bundle.path}")


def _rows(files: list[FileParity]) -> Iterator[tuple[str, ...]]:
    for file in files:
        yield (
            file.path,
            f"{file.runtime} {file.device}",
            f"{file.largest_difference:.2g}",
            f"{file.tolerance:.2g}",
            str(file.top1_agreement),
            str(file.scores.top1_correct) if file.scores else "-",
        )
