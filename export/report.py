"""What an export tells on stdout when it is done."""

from rich.console import Console, JustifyMethod
from rich.table import Table

from export.parity import FileParity
from export.pipeline import Exported


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
    console.print(_table(parity.files, parity.images))
    for path in parity.unproved:
        console.print(f"not proved: {path}; nothing on this machine can run it")
    console.print(f"serve it: make serve MODEL={bundle.path}")


def _table(files: list[FileParity], images: int) -> Table:
    title = f"against the original, {images} images"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for heading in ("file", "runtime", "differs by", "allowed", "same top-1", "top-1"):
        justify: JustifyMethod = "left" if heading in ("file", "runtime") else "right"
        table.add_column(heading, justify=justify, no_wrap=True)
    for file in files:
        table.add_row(
            file.path,
            f"{file.runtime} {file.device}",
            f"{file.largest_difference:.2g}",
            f"{file.tolerance:.2g}",
            str(file.top1_agreement),
            str(file.scores.top1_correct) if file.scores else "-",
        )
    return table
