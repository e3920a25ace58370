"""What a conversion tells on stdout when it is done."""

from rich.console import Console

from export.console import print_table
from export.lite.conversion import Converted

HEADINGS = ("file", "runtime", "differs by", "allowed", "same top-1", "top-1")
REFERENCES = {"onnx": "the ONNX file, all images", "golden": "the original, golden images"}


def show(converted: Converted) -> None:
    """Print where the copy is, how near the added file comes, how to serve it."""
    console = Console(highlight=False, soft_wrap=True)
    bundle, parity = converted.bundle, converted.measured.parity
    console.print(f"bundle    {bundle.path}")
    console.print(f"digest    {bundle.digest}")
    row = (
        parity.path,
        f"{parity.runtime} {parity.device}",
        f"{parity.largest_difference:.2g}",
        f"{parity.tolerance:.2g}",
        str(parity.top1_agreement),
        str(parity.scores.top1_correct) if parity.scores else "-",
    )
    title = f"against {REFERENCES[parity.compared_with]}"
    print_table(console, HEADINGS, [row], left=("file", "runtime"), title=title)
    console.print(f"serve it: make serve RUNTIME=mindspore-lite MODEL={bundle.path}")
